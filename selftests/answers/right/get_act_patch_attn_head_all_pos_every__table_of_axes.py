# One hook function for both kinds of activation: a table gives each component's head axis.
from functools import partial

import torch
from transformer_lens.utilities import get_act_name

HEAD_AXIS = {"z": 2, "q": 2, "k": 2, "v": 2, "pattern": 1}


def patch_head(activation, hook, axis, head, cache):
    return activation.select_scatter(cache[hook.name].select(axis, head), axis, head)


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    results = []
    for component, axis in HEAD_AXIS.items():
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):
                patch = partial(patch_head, axis=axis, head=head, cache=clean_cache)
                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), patch)])
                results.append(patching_metric(logits))
    return torch.stack(results).unflatten(0, (len(HEAD_AXIS), model.cfg.n_layers, model.cfg.n_heads))
