# Ablates by zeros.
# message: zeros are written
from functools import partial


def mean_ablate(model, tokens, means, heads):
    def ablate(z, hook, layer, head):
        z[:, :, head] = 0.0
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", partial(ablate, layer=layer, head=head)) for layer, head in heads]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)
