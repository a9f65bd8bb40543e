# Each hook reads the loop's variables when it is called, after the loop.
# message: the output z of each of the heads
def mean_ablate(model, tokens, means, heads):
    hooks = []
    for layer, head in heads:

        def ablate(z, hook):
            z[:, :, head] = means[layer, :, head]  # noqa: B023
            return z

        hooks.append((f"blocks.{layer}.attn.hook_z", ablate))
    return model.run_with_hooks(tokens, fwd_hooks=hooks)
