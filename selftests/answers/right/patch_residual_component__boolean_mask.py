# A boolean mask over positions, used as an index on both sides.
import torch


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    mask = torch.zeros(corrupted_residual_component.shape[1], dtype=torch.bool)
    mask[pos] = True
    corrupted_residual_component[:, mask] = clean_cache[hook.name][:, mask]
    return corrupted_residual_component
