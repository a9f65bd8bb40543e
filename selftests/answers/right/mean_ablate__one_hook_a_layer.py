# One hook for every layer, which asks for its heads.
from transformer_lens.utilities import get_act_name


def mean_ablate(model, tokens, means, heads):
    def ablate(z, hook):
        for layer, head in heads:
            if layer == hook.layer():
                z[:, :, head] = means[layer, :, head]
        return z

    points = [(get_act_name("z", layer), ablate) for layer in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=points)
