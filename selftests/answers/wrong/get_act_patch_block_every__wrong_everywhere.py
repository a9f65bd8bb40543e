# Patches the position after, wrapping round.
# message: that patches resid_pre of layer 0 at pos 5
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos, :] = clean_cache[hook.name][:, pos, :]
    return corrupted_residual_component


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    components = ("resid_pre", "attn_out", "mlp_out")
    results = torch.zeros(3, model.cfg.n_layers, corrupted_tokens.shape[1])
    for i, component in enumerate(components):
        for layer in range(model.cfg.n_layers):
            for pos in range(corrupted_tokens.shape[1]):
                hook_fn = partial(patch_residual_component, pos=pos - 1, clean_cache=clean_cache)
                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), hook_fn)])
                results[i, layer, pos] = patching_metric(logits)
    return results
