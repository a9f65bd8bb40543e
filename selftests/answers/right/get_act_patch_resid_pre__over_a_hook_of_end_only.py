# A right sweep over a hook that patches END only: the check prints which of the two is wrong.
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, -1] = clean_cache[hook.name][:, -1]
    return corrupted_residual_component


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    n_layers, n_positions = model.cfg.n_layers, corrupted_tokens.shape[1]
    results = torch.zeros(n_layers, n_positions)
    for layer in range(n_layers):
        for pos in range(n_positions):
            patch = partial(patch_residual_component, pos=pos, clean_cache=clean_cache)
            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name("resid_pre", layer), patch)])
            results[layer, pos] = patching_metric(logits)
    return results
