# Sets the other heads to zero.
# message: it changes every head: index axis 2 with head_index, on both sides
import torch


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    patched = torch.zeros_like(corrupted_head_vector)
    patched[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return patched
