# Clears the head with masked_fill and adds the clean head alone to it.
import torch


def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    alone = torch.zeros_like(corrupted_pattern)
    alone[:, head_index] = clean_cache[hook.name][:, head_index]
    others = corrupted_pattern.index_fill(1, torch.tensor([head_index]), 0)
    return others + alone
