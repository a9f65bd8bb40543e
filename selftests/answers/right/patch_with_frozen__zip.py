# The heads and their caches, joined by zip.
from functools import partial
from itertools import repeat

from transformer_lens.utilities import get_act_name


def patch(z, hook, index, cache):
    z[:, :, index] = cache[hook.name][:, :, index]
    return z


def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    _, corrupted_cache = model.run_with_cache(corrupted_tokens)
    heads, caches = [*frozen, patched], [*repeat(corrupted_cache, len(frozen)), clean_cache]
    fwd_hooks = [
        (get_act_name("z", layer), partial(patch, index=index, cache=cache))
        for (layer, index), cache in zip(heads, caches, strict=True)
    ]
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=fwd_hooks)
