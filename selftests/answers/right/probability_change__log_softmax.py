# exp of log_softmax, with a range of prompts.
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def patch(z, hook, index, cache):
    z[:, :, index] = cache[hook.name][:, :, index]
    return z


def probability_change(model, clean_tokens, corrupted_cache, answer_tokens, head):
    layer, index = head
    hook = (get_act_name("z", layer), partial(patch, index=index, cache=corrupted_cache))
    patched = model.run_with_hooks(clean_tokens, fwd_hooks=[hook])[:, -1]
    before = model(clean_tokens)[:, -1]
    rows, correct = torch.arange(len(before)), answer_tokens[:, 0]
    change = patched.log_softmax(-1).exp() - before.log_softmax(-1).exp()
    return change[rows, correct].mean()
