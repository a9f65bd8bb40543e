# 0 on the clean run and 1 on the corrupted run.
# message: 0 and 1 are swapped
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    return (clean_logit_diff - logit_diff) / (clean_logit_diff - corrupted_logit_diff)
