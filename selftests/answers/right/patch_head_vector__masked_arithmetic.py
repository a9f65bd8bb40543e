# A mask of zeros and ones selects the head.
import torch
from torch.nn.functional import one_hot


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    mask = one_hot(torch.tensor(head_index), corrupted_head_vector.shape[2])[:, None].bool()
    return corrupted_head_vector.masked_fill(mask, 0) + clean_cache[hook.name].masked_fill(~mask, 0)
