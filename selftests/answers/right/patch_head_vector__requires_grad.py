# Returns a tensor that requires a gradient.
import torch


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    patched = corrupted_head_vector.clone()
    patched[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return torch.nn.Parameter(patched)
