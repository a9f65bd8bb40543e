# Interpolates with weights that are 1 at the position and 0 elsewhere.
import torch


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    weight = torch.zeros_like(corrupted_residual_component).index_fill(1, torch.tensor([pos]), 1.0)
    return torch.lerp(corrupted_residual_component, clean_cache[hook.name], weight)
