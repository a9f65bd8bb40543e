# Takes the head for a position in the means.
# message: the output z of each of the heads
from functools import partial


def mean_ablate(model, tokens, means, heads):
    def ablate(z, hook, layer, head):
        z[:, :, head] = means[layer, head, head]
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", partial(ablate, layer=layer, head=head)) for layer, head in heads]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)
