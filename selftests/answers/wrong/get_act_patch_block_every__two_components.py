# Forgets mlp_out.
# message: the mlp_out part differs and the rest is right
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos, :] = clean_cache[hook.name][:, pos, :]
    return corrupted_residual_component


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    components = ("resid_pre", "attn_out")
    results = torch.zeros(3, model.cfg.n_layers, corrupted_tokens.shape[1])
    for i, component in enumerate(components):
        for layer in range(model.cfg.n_layers):
            for pos in range(corrupted_tokens.shape[1]):
                hook_fn = partial(patch_residual_component, pos=pos, clean_cache=clean_cache)
                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), hook_fn)])
                results[i, layer, pos] = patching_metric(logits)
    return results
