# Freezes heads at their means.
# message: frozen heads have their outputs in clean_cache
from functools import partial


def put(z, hook, head, values):
    z[:, :, head] = values
    return z


def self_repair(model, tokens, clean_cache, means, ablated, negative, metric):
    name = "blocks.{}.attn.hook_z".format
    layer, head = ablated
    ablate = (name(layer), partial(put, head=head, values=means[layer, :, head]))
    later = [(i, j) for i in range(layer + 1, model.cfg.n_layers) for j in range(model.cfg.n_heads)]
    metrics = []
    for frozen in (later, negative, []):
        hooks = [(name(i), partial(put, head=j, values=means[i, :, j])) for i, j in frozen]
        metrics.append(metric(model.run_with_hooks(tokens, fwd_hooks=[ablate, *hooks])))
    first, second, third = metrics
    return second - first, third - second
