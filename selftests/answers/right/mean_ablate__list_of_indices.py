# Writes all heads of a layer at once.
from collections import defaultdict
from functools import partial


def replace(z, hook, layer, indices, means):
    z[:, :, indices] = means[layer][:, indices]
    return z


def mean_ablate(model, tokens, means, heads):
    by_layer = defaultdict(list)
    for layer, head in heads:
        by_layer[layer].append(head)
    hooks = [
        (f"blocks.{layer}.attn.hook_z", partial(replace, layer=layer, indices=indices, means=means))
        for layer, indices in by_layer.items()
    ]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)
