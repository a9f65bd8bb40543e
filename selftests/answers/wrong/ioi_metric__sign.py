# Incorrect minus correct.
# message: the sign is flipped
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    return -((logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff))
