# In the first run a whole layer's output is that of the clean run.
from functools import partial


def put(z, hook, head, values):
    z[:, :, head] = values
    return z


def self_repair(model, tokens, clean_cache, means, ablated, negative, metric):
    name = "blocks.{}.attn.hook_z".format
    layer, head = ablated
    ablate = (name(layer), partial(put, head=head, values=means[layer, :, head]))
    all_frozen = [
        (name(later), lambda z, hook: clean_cache[hook.name]) for later in range(layer + 1, model.cfg.n_layers)
    ]
    negative_frozen = [(name(i), partial(put, head=j, values=clean_cache["z", i][:, :, j])) for i, j in negative]
    values = [
        metric(model.run_with_hooks(tokens, fwd_hooks=[ablate, *hooks])) for hooks in (all_frozen, negative_frozen, [])
    ]
    return [values[1] - values[0], values[2] - values[1]]
