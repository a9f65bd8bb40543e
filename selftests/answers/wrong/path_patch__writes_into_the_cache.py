# Writes the corrupted outputs of the other heads into the clean cache.
# message: clean_cache at
from functools import partial

from transformer_lens.utilities import get_act_name


def put(activation, hook, head, source):
    activation[:, :, head] = source[hook.name][:, :, head]
    return activation


def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    _, corrupted = model.run_with_cache(corrupted_tokens)
    freeze = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            if (layer, head) not in senders:
                clean_cache["z", layer][:, :, head] = corrupted["z", layer][:, :, head]
        freeze.append((get_act_name("z", layer), lambda z, hook: clean_cache[hook.name]))
    with model.hooks(fwd_hooks=freeze):
        _, recorded = model.run_with_cache(corrupted_tokens)
    receive = [(get_act_name(component, layer), partial(put, head=head, source=recorded)) for layer, head in receivers]
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=receive)
