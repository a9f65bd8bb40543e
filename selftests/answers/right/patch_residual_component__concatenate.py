# Three pieces, concatenated; keyword-only arguments after the hook.
import torch


def patch_residual_component(corrupted_residual_component, hook, *, pos, clean_cache):
    x, clean = corrupted_residual_component, clean_cache[hook.name]
    return torch.cat([x[:, :pos], clean[:, pos : pos + 1], x[:, pos + 1 :]], dim=1)
