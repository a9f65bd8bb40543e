# A double inside, rounded at the end; a partial application of a lambda.
from functools import partial

import torch


def kl_to_clean(logits, clean_logits):
    at_end = partial(torch.log_softmax, dim=-1)
    log_p, log_clean = at_end(logits[:, -1].double()), at_end(clean_logits[:, -1].double())
    return (log_clean.exp() * (log_clean - log_p)).sum(-1).mean().float()
