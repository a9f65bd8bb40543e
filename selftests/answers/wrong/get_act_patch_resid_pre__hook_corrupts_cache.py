# The hook returns the cached tensor, which the next block then edits.
# message: was changed
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def patch(corrupted_residual_component, hook, pos, clean_cache):
    clean_cache[hook.name][:, pos, :] = corrupted_residual_component[:, pos, :]
    return clean_cache[hook.name]


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(model.cfg.n_layers, corrupted_tokens.shape[1])
    for layer in range(model.cfg.n_layers):
        for pos in range(corrupted_tokens.shape[1]):
            hook_fn = partial(patch, pos=pos, clean_cache=clean_cache)
            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name("resid_pre", layer), hook_fn)])
            results[layer, pos] = patching_metric(logits)
    return results
