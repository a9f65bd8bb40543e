# Other names for the arguments, and torch.where with a mask.
import torch
from transformer_lens.utilities import get_act_name


def path_patch(bridge, tokens, cache, sources, targets, what):
    _, own = bridge.run_with_cache(tokens)

    def mask(heads, layer, size):
        chosen = torch.zeros(size, dtype=torch.bool)
        chosen[[head for other, head in heads if other == layer]] = True
        return chosen[:, None]

    def frozen(z, hook):
        return torch.where(mask(sources, hook.layer(), z.shape[2]), cache[hook.name], own[hook.name])

    layers = range(bridge.cfg.n_layers)
    with bridge.hooks(fwd_hooks=[(get_act_name("z", layer), frozen) for layer in layers]):
        _, seen = bridge.run_with_cache(tokens)

    def replaced(value, hook):
        return torch.where(mask(targets, hook.layer(), value.shape[2]), seen[hook.name], value)

    return bridge.run_with_hooks(tokens, fwd_hooks=[(get_act_name(what, layer), replaced) for layer in layers])
