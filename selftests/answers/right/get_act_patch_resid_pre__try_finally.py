# model.add_hook before each run and reset_hooks after it, in try and finally.
import torch
from transformer_lens.utilities import get_act_name


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.full((model.cfg.n_layers, corrupted_tokens.shape[1]), torch.nan)
    for layer, pos in torch.cartesian_prod(*map(torch.arange, results.shape)).tolist():

        def patch(x, hook, pos=pos):
            x[:, pos] = clean_cache[hook.name][:, pos]
            return x

        try:
            model.add_hook(get_act_name("resid_pre", layer), patch)
            results[layer, pos] = patching_metric(model(corrupted_tokens))
        finally:
            model.reset_hooks()
    return results
