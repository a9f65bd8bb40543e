# A mask and torch.where.
import torch


def mean_ablate(model, tokens, means, heads):
    mask = torch.zeros(means.shape[0], means.shape[2], 1, dtype=torch.bool)
    for layer, head in heads:
        mask[layer, head] = True
    with model.hooks(
        fwd_hooks=[
            (f"blocks.{layer}.attn.hook_z", lambda z, hook: torch.where(mask[hook.layer()], means[hook.layer()], z))
            for layer in range(model.cfg.n_layers)
        ]
    ):
        return model(tokens)
