# Gives back a tensor of the right values whose memory lies in another order.
import torch


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    heads = corrupted_head_vector.permute(2, 0, 1, 3).contiguous()
    heads[head_index] = clean_cache[hook.name][..., head_index, :]
    return torch.permute(heads, (1, 2, 0, 3))
