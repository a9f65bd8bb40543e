# A right sweep over a pattern hook that indexes the prompts: the check prints which of the two is wrong.
import torch
from transformer_lens.utilities import get_act_name


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return corrupted_head_vector


def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[head_index] = clean_cache[hook.name][head_index]
    return corrupted_pattern


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    hook_functions = dict.fromkeys(["z", "q", "k", "v"], patch_head_vector) | {"pattern": patch_attn_patterns}
    results = torch.zeros(5, model.cfg.n_layers, model.cfg.n_heads)
    for index, (component, hook_function) in enumerate(hook_functions.items()):
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):

                def patch(activation, hook, hook_function=hook_function, head=head):
                    return hook_function(activation, hook, head, clean_cache)

                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), patch)])
                results[index, layer, head] = patching_metric(logits)
    return results
