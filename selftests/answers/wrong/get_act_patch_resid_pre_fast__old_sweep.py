# The sweep of notebook 2, exact and slow.
# message: skip positions before the first difference, and start each run at its own layer
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def patch_residual_component(activation, hook, pos, clean_cache):
    activation[:, pos] = clean_cache[hook.name][:, pos]
    return activation


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(model.cfg.n_layers, corrupted_tokens.shape[1])
    for layer in range(model.cfg.n_layers):
        for pos in range(corrupted_tokens.shape[1]):
            patch = partial(patch_residual_component, pos=pos, clean_cache=clean_cache)
            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name("resid_pre", layer), patch)])
            results[layer, pos] = patching_metric(logits)
    return results
