# Right at 0 and at 1, and curved between.
# message: linear in the logit difference
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    x = (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
    return x * x.abs()
