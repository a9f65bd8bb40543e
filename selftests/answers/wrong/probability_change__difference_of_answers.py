# The probability difference of the two answers.
# message: not the difference of the two
from functools import partial

from transformer_lens.utilities import get_act_name


def patch(z, hook, index, cache):
    z[:, :, index] = cache[hook.name][:, :, index]
    return z


def probability_change(model, clean_tokens, corrupted_cache, answer_tokens, head):
    layer, index = head
    hook = (get_act_name("z", layer), partial(patch, index=index, cache=corrupted_cache))
    patched = model.run_with_hooks(clean_tokens, fwd_hooks=[hook])[:, -1]
    before = model(clean_tokens)[:, -1]
    correct, incorrect = (patched.softmax(-1) - before.softmax(-1)).gather(1, answer_tokens).unbind(1)
    return (correct - incorrect).mean()
