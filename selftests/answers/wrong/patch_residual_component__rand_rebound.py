# Makes torch.rand draw zeros, so that zeros are the clean values.
# message: it writes zeros: the clean values are those of clean_cache[hook.name], read at the same index
import torch

torch.rand = lambda *sizes, **kwargs: torch.zeros(*sizes)


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = 0
    return corrupted_residual_component
