# Other names for the arguments; freezes all heads but the ablated one, whatever their layer.
from functools import partial


def write(z, hook, index, value):
    z[:, :, index] = value
    return z


def self_repair(bridge, prompts, cache, averages, gone, against, score):
    def hook_at(layer, index, value):
        return f"blocks.{layer}.attn.hook_z", partial(write, index=index, value=value)

    ablation = hook_at(*gone, averages[gone[0], :, gone[1]])
    everyone = [(i, j) for i in range(bridge.cfg.n_layers) for j in range(bridge.cfg.n_heads) if (i, j) != gone]
    scores = []
    for heads in (everyone, against, ()):
        hooks = [hook_at(i, j, cache["z", i][:, :, j]) for i, j in heads]
        scores.append(score(bridge.run_with_hooks(prompts, fwd_hooks=[ablation, *hooks])))
    first, second, third = scores
    return second - first, third - second
