# Patches all heads of a layer in every run.
# message: that patches z of layer 0 at every head
import torch


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(5, model.cfg.n_layers, model.cfg.n_heads)
    for i, component in enumerate(("z", "q", "k", "v", "pattern")):
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):
                logits = model.run_with_hooks(
                    corrupted_tokens,
                    fwd_hooks=[
                        (f"blocks.{layer}.attn.hook_{component}", lambda x, hook: clean_cache[hook.name].clone())
                    ],
                )
                results[i, layer, head] = patching_metric(logits)
    return results
