# Takes the means over the prompts of this run.
# message: use the argument `means`
from functools import partial


def mean_ablate(model, tokens, means, heads):
    def ablate(z, hook, layer, head):
        z[:, :, head] = z[:, :, head].mean(0)
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", partial(ablate, layer=layer, head=head)) for layer, head in heads]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)
