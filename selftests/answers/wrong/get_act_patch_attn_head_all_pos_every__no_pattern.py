# Leaves the pattern out.
# message: the pattern part differs and the rest is right
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return corrupted_head_vector


def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index] = clean_cache[hook.name][:, head_index]
    return corrupted_pattern


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    components = ("z", "q", "k", "v")
    results = torch.zeros(5, model.cfg.n_layers, model.cfg.n_heads)
    for i, component in enumerate(components):
        patch = patch_attn_patterns if component == "pattern" else patch_head_vector
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):
                hook_fn = partial(patch, head_index=head, clean_cache=clean_cache)
                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), hook_fn)])
                results[i, layer, head] = patching_metric(logits)
    return results
