# Returns a nested tensor.
# message: a Tensor: nested_tensor
import torch


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    return torch.nested.nested_tensor(list(corrupted_residual_component))
