# One hook for all layers, and a set of frozen heads.
from transformer_lens.utilities import get_act_name


def self_repair(model, tokens, clean_cache, means, ablated, negative, metric):
    layers = range(model.cfg.n_layers)

    def run(frozen):
        def replace(z, hook):
            for layer, head in frozen:
                if layer == hook.layer():
                    z[:, :, head] = clean_cache[hook.name][:, :, head]
            if hook.layer() == ablated[0]:
                z[:, :, ablated[1]] = means[ablated[0], :, ablated[1]]
            return z

        return metric(model.run_with_hooks(tokens, fwd_hooks=[(get_act_name("z", layer), replace) for layer in layers]))

    no_reaction = run({(layer, head) for layer in layers if layer > ablated[0] for head in range(model.cfg.n_heads)})
    others_react, all_react = run(set(negative)), run(set())
    return others_react - no_reaction, all_react - others_react
