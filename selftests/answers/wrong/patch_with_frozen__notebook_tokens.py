# Runs the notebook's tokens.
# message: uses the notebook's variable clean_tokens
from functools import partial

from transformer_lens.utilities import get_act_name


def patch(z, hook, index, cache):
    z[:, :, index] = cache[hook.name][:, :, index]
    return z


def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    _, corrupted_cache = model.run_with_cache(corrupted_tokens)
    sources = [(patched, clean_cache), *((head, corrupted_cache) for head in frozen)]
    hooks = [(get_act_name("z", layer), partial(patch, index=index, cache=cache)) for (layer, index), cache in sources]
    return model.run_with_hooks(clean_tokens, fwd_hooks=hooks)
