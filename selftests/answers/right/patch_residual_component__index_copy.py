# index_copy along axis 1, under inference mode.
import torch


@torch.inference_mode()
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    index = torch.tensor([pos])
    return corrupted_residual_component.index_copy(1, index, clean_cache[hook.name].index_select(1, index))
