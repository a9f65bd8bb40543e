# Hooks for the patched head and for the frozen ones.
from functools import partial

from transformer_lens.utilities import get_act_name


def patch(z, hook, index, cache):
    z[:, :, index] = cache[hook.name][:, :, index]
    return z


def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    _, before = model.run_with_cache(corrupted_tokens)
    hooks = [(get_act_name("z", patched[0]), partial(patch, index=patched[1], cache=clean_cache))]
    for layer, index in frozen:
        hooks.append((get_act_name("z", layer), partial(patch, index=index, cache=before)))
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=hooks)
