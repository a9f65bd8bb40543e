# `with model.hooks(...)`, a closure with default arguments, a list stacked at the end, a progress bar.
import torch
from tqdm.auto import tqdm


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    values = []
    for layer in tqdm(range(model.cfg.n_layers)):
        name = f"blocks.{layer}.hook_resid_pre"
        for pos in range(corrupted_tokens.size(-1)):

            def hook_fn(x, hook, pos=pos, name=name):
                x[:, pos] = clean_cache[name][:, pos]

            with model.hooks(fwd_hooks=[(name, hook_fn)]):
                values.append(patching_metric(model(corrupted_tokens)))
    return torch.stack(values).reshape(model.cfg.n_layers, -1)
