# A loop over the three components, with renamed arguments.
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos, :] = clean_cache[hook.name][:, pos, :]
    return corrupted_residual_component


def get_act_patch_block_every(lens, tokens, cache, metric):
    results = torch.zeros(3, lens.cfg.n_layers, tokens.shape[1])
    for i, component in enumerate(["resid_pre", "attn_out", "mlp_out"]):
        for layer in range(lens.cfg.n_layers):
            for pos in range(tokens.shape[1]):
                hook_fn = partial(patch_residual_component, pos=pos, clean_cache=cache)
                logits = lens.run_with_hooks(tokens, fwd_hooks=[(get_act_name(component, layer), hook_fn)])
                results[i, layer, pos] = metric(logits)
    return results
