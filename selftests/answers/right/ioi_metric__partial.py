# functools.partial of a helper that has no defaults.
from functools import partial

import utils


def scaled(logits, answer_tokens, corrupted_logit_diff, clean_logit_diff):
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)


ioi_metric = partial(
    scaled,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
)
