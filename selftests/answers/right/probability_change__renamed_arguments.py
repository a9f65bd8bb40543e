# Other names for the arguments, and an index by one-hot vectors.
from functools import partial

import torch
from transformer_lens.utilities import get_act_name


def take(z, hook, number, source):
    others = torch.arange(z.shape[2], device=z.device)[:, None] != number
    return torch.where(others, z, source[hook.name])


def probability_change(network, tokens, source, answers, place):
    take_this = partial(take, number=place[1], source=source)
    runs = [
        network.run_with_hooks(tokens, fwd_hooks=hooks)[:, -1]
        for hooks in ([(get_act_name("z", place[0]), take_this)], [])
    ]
    after, before = (torch.nn.functional.softmax(end, dim=1) for end in runs)
    wanted = torch.nn.functional.one_hot(answers[:, 0], after.shape[1])
    return ((after - before) * wanted).sum() / len(tokens)
