# index_copy_ in place along the head axis.
import torch


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    index = torch.tensor([head_index])
    return corrupted_head_vector.index_copy_(2, index, clean_cache[hook.name].index_select(2, index))
