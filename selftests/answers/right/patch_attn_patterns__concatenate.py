# The heads before, the clean head, the heads after.
import torch


def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    before, _, after = corrupted_pattern.tensor_split([head_index, head_index + 1], dim=1)
    return torch.cat((before, clean_cache[hook.name][:, [head_index]], after), dim=1)
