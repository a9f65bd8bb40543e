# Goes through the entries by recursion, and gathers them in a dictionary.
from itertools import product

import torch


def run_all(run, entries, found):
    if entries:
        found[entries[0]] = run(*entries[0])
        run_all(run, entries[1:], found)
    return found


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    def run(layer, pos):
        def patch(x, hook):
            x[:, pos] = clean_cache[hook.name][:, pos]
            return x

        name = f"blocks.{layer}.hook_resid_pre"
        return patching_metric(model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, patch)]))

    shape = (model.cfg.n_layers, corrupted_tokens.shape[1])
    results = torch.empty(shape)
    for entry, value in run_all(run, list(product(*map(range, shape))), {}).items():
        results[entry] = value
    return results
