# Returns both parts in one tensor, the differences of three stacked metrics.
from functools import partial

import torch


def freeze(z, hook, head, cache):
    z[:, :, head] = cache[hook.name][:, :, head]
    return z


def self_repair(model, tokens, clean_cache, means, ablated, negative, metric):
    def ablate(z, hook):
        z[:, :, ablated[1]] = means[ablated[0]][:, ablated[1]]
        return z

    later = [(i, j) for i in range(ablated[0] + 1, model.cfg.n_layers) for j in range(model.cfg.n_heads)]
    metrics = []
    for frozen in (later, negative, []):
        hooks = [(f"blocks.{i}.attn.hook_z", partial(freeze, head=j, cache=clean_cache)) for i, j in frozen]
        hooks.append((f"blocks.{ablated[0]}.attn.hook_z", ablate))
        metrics.append(metric(model.run_with_hooks(tokens, fwd_hooks=hooks)))
    return torch.stack(metrics).diff()
