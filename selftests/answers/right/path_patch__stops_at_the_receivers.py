# The first run stops after the last receiver's layer.
from transformer_lens.utilities import get_act_name


def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    _, cache = model.run_with_cache(corrupted_tokens)
    outputs = {layer: cache["z", layer].clone() for layer in range(model.cfg.n_layers)}
    for layer, head in senders:
        outputs[layer][:, :, head] = clean_cache["z", layer][:, :, head]
    last = max(layer for layer, _ in receivers)
    seen = {}

    def freeze(z, hook):
        return outputs[hook.layer()]

    def see(activation, hook):
        seen[hook.layer()] = activation.detach().clone()

    points = [(get_act_name("z", layer), freeze) for layer in outputs]
    points += [(get_act_name(component, layer), see) for layer in outputs]
    model.run_with_hooks(corrupted_tokens, fwd_hooks=points, stop_at_layer=last + 1)

    def receive(activation, hook):
        for layer, head in receivers:
            if layer == hook.layer():
                activation[:, :, head] = seen[layer][:, :, head]
        return activation

    inputs = [(get_act_name(component, layer), receive) for layer in seen]
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=inputs)
