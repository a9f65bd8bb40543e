# Loops over layers first, and moves the component axis to the front at the end.
from functools import partial

import torch
from einops import rearrange
from transformer_lens.utilities import get_act_name


def hook_function(x, hook, where, cache):
    x[:, where] = cache[hook.name][:, where]
    return x


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(model.cfg.n_layers, corrupted_tokens.shape[1], 3)
    for layer, by_position in enumerate(results):
        for pos, by_component in enumerate(by_position):
            patch = partial(hook_function, where=pos, cache=clean_cache)
            for i, component in enumerate(("resid_pre", "attn_out", "mlp_out")):
                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), patch)])
                by_component[i] = patching_metric(logits)
    return rearrange(results, "layer pos component -> component layer pos")
