# A Python number.
# message: remove .item() and float()
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
    correct = answer_tokens[:, :1]
    return (patched.softmax(-1) - before.softmax(-1)).gather(1, correct).mean().item()
