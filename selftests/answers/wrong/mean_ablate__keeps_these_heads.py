# Ablates all heads but these.
# message: these heads stay and all others are ablated
from functools import partial


def mean_ablate(model, tokens, means, heads):
    def ablate(z, hook, layer, head):
        z[:, :, head] = means[layer, :, head]
        return z

    hooks = [
        (f"blocks.{layer}.attn.hook_z", partial(ablate, layer=layer, head=head))
        for layer, head in [(i, j) for i in range(len(means)) for j in range(means.shape[2]) if (i, j) not in heads]
    ]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)
