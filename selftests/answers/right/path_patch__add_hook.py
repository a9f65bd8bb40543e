# Adds hooks by hand and removes them.
from functools import partial

from transformer_lens.utilities import get_act_name


def put(activation, hook, head, source):
    activation[:, :, head] = source[hook.name][:, :, head]
    return activation


def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    model.reset_hooks()
    _, corrupted = model.run_with_cache(corrupted_tokens)
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            source = clean_cache if (layer, head) in senders else corrupted
            model.add_hook(get_act_name("z", layer), partial(put, head=head, source=source))
    _, recorded = model.run_with_cache(corrupted_tokens)
    model.reset_hooks()
    for layer, head in receivers:
        model.add_hook(get_act_name(component, layer), partial(put, head=head, source=recorded))
    logits = model(corrupted_tokens)
    model.reset_hooks()
    return logits
