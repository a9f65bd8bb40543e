# Sets the other heads to zero.
# message: head 1, 2 changed too
import torch


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    patched = torch.zeros_like(corrupted_head_vector)
    patched[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return patched
