# Other names for the arguments, and a hook that is made by a function.
def hook_for(layer, head, averages):
    def hook_function(output, hook):
        output[..., head, :] = averages[layer, :, head, :]
        return output

    return f"blocks.{layer}.attn.hook_z", hook_function


def mean_ablate(bridge, prompts, averages, ablated):
    return bridge.run_with_hooks(prompts, fwd_hooks=[hook_for(*pair, averages) for pair in ablated])
