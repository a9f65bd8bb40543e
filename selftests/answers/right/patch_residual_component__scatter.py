# scatter with an index of the slice's shape.
import torch


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    clean = clean_cache[hook.name][:, pos : pos + 1]
    return corrupted_residual_component.scatter(1, torch.full_like(clean, pos, dtype=torch.int64), clean)
