# index_put_ with one index for the prompts and one for the position.
import torch


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    prompts = torch.arange(len(corrupted_residual_component))
    where = (prompts, torch.tensor(pos).expand_as(prompts))
    return corrupted_residual_component.index_put_(where, clean_cache[hook.name][where])
