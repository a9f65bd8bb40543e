# model.hooks, and a run of its own.
from functools import partial

from transformer_lens.utilities import get_act_name


def patch(z, hook, index, cache):
    z[:, :, index] = cache[hook.name][:, :, index]
    return z


def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    _, corrupted_cache = model.run_with_cache(corrupted_tokens)

    def hook_of(head, cache):
        return get_act_name("z", head[0]), partial(patch, index=head[1], cache=cache)

    with model.hooks(fwd_hooks=[hook_of(patched, clean_cache), *(hook_of(head, corrupted_cache) for head in frozen)]):
        return model(corrupted_tokens)
