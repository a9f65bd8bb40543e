# torch.where with a mask over heads.
import torch


def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    mask = (torch.arange(corrupted_pattern.shape[1]) == head_index).reshape(1, -1, 1, 1)
    return torch.where(mask, clean_cache[hook.name], corrupted_pattern)
