# A list of heads, one of them exchanged, stacked again.
import torch


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    heads = list(corrupted_head_vector.unbind(2))
    heads[head_index] = clean_cache[hook.name].unbind(2)[head_index]
    return torch.stack(heads, dim=2)
