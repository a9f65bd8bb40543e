# torch.where with a mask over positions.
import torch


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    positions = torch.arange(corrupted_residual_component.shape[1])
    here = (positions == pos)[None, :, None]
    return torch.where(here, clean_cache[hook.name], corrupted_residual_component)
