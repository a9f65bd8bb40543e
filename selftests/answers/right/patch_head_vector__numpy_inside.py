# Edits a numpy array and gives back a tensor.
import torch


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    patched = corrupted_head_vector.detach().numpy().copy()
    patched[:, :, head_index] = clean_cache[hook.name].detach().numpy()[:, :, head_index]
    return torch.from_numpy(patched)
