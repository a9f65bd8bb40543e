# Scales each component's table to lie between 0 and 1.
# message: the numbers are shifted or scaled
import torch
from transformer_lens.utilities import get_act_name


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(3, model.cfg.n_layers, corrupted_tokens.shape[1])
    for i, component in enumerate(("resid_pre", "attn_out", "mlp_out")):
        for layer in range(model.cfg.n_layers):
            for pos in range(corrupted_tokens.shape[1]):

                def patch(x, hook, pos=pos):
                    x[:, pos] = clean_cache[hook.name][:, pos]
                    return x

                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), patch)])
                results[i, layer, pos] = patching_metric(logits)
    low, high = results.amin((1, 2), keepdim=True), results.amax((1, 2), keepdim=True)
    return (results - low) / (high - low)
