# Assigns prompt by prompt, with zip and enumerate, inside no_grad.
import torch


@torch.no_grad()
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    for prompt, clean in enumerate(clean_cache[hook.name]):
        corrupted_pattern[prompt, head_index] = clean[head_index]
    return corrupted_pattern
