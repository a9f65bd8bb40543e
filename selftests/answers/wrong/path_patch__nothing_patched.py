# Records and does not replace.
# message: nothing changes: the second run replaces
from functools import partial

from transformer_lens.utilities import get_act_name


def put(activation, hook, head, source):
    activation[:, :, head] = source[hook.name][:, :, head]
    return activation


def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    _, corrupted = model.run_with_cache(corrupted_tokens)
    layers, heads = range(model.cfg.n_layers), range(model.cfg.n_heads)
    freeze = [
        (get_act_name("z", layer), partial(put, head=head, source=corrupted)) for layer in layers for head in heads
    ]
    send = [(get_act_name("z", layer), partial(put, head=head, source=clean_cache)) for layer, head in senders]
    with model.hooks(fwd_hooks=[*freeze, *send]):
        _, recorded = model.run_with_cache(corrupted_tokens)
    [(get_act_name(component, layer), partial(put, head=head, source=recorded)) for layer, head in receivers]
    return model(corrupted_tokens)
