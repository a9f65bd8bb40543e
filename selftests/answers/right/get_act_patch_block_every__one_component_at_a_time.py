# A helper sweeps over one component, and torch.stack puts the three tables together.
import torch
from transformer_lens.utilities import get_act_name


def sweep_over(component, model, tokens, cache, metric):
    table = torch.zeros(model.cfg.n_layers, tokens.shape[1])
    for layer in range(model.cfg.n_layers):
        for pos in range(tokens.shape[1]):

            def patch(x, hook, pos=pos):
                x[:, pos] = cache[hook.name][:, pos]
                return x

            table[layer, pos] = metric(
                model.run_with_hooks(tokens, fwd_hooks=[(get_act_name(component, layer), patch)])
            )
    return table


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    arguments = (model, corrupted_tokens, clean_cache, patching_metric)
    return torch.stack([sweep_over(component, *arguments) for component in ("resid_pre", "attn_out", "mlp_out")])
