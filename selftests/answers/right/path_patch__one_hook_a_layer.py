# Dictionaries by layer, and one hook for each layer.
from transformer_lens.utilities import get_act_name


def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    _, corrupted_cache = model.run_with_cache(corrupted_tokens)
    recorded = {}

    def freeze(z, hook):
        frozen = corrupted_cache[hook.name].clone()
        for layer, head in senders:
            if layer == hook.layer():
                frozen[:, :, head] = clean_cache[hook.name][:, :, head]
        return frozen

    def record(activation, hook):
        recorded[hook.layer()] = activation.clone()

    def receive(activation, hook):
        for layer, head in receivers:
            if layer == hook.layer():
                activation[:, :, head] = recorded[layer][:, :, head]
        return activation

    first = [(get_act_name("z", layer), freeze) for layer in range(model.cfg.n_layers)]
    inputs = [get_act_name(component, layer) for layer in {layer for layer, _ in receivers}]
    model.run_with_hooks(corrupted_tokens, fwd_hooks=first + [(name, record) for name in inputs])
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, receive) for name in inputs])
