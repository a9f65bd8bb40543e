# Writes the run's outputs into the means.
# message: means was changed
from functools import partial


def mean_ablate(model, tokens, means, heads):
    def ablate(z, hook, layer, head):
        means[layer, :, head] = z[:, :, head].mean(0)
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", partial(ablate, layer=layer, head=head)) for layer, head in heads]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)
