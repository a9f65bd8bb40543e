# Leaves its hooks on the model.
# message: path_patch leaves no hook on the model
from transformer_lens.utilities import get_act_name


def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    def send(z, hook):
        for layer, head in senders:
            if layer == hook.layer():
                z[:, :, head] = clean_cache[hook.name][:, :, head]
        return z

    for layer in range(model.cfg.n_layers):
        model.add_hook(get_act_name("z", layer), send)
    return model(corrupted_tokens)
