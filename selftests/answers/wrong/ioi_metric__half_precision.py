# Computes in float16 and gives back float32.
# message: linear in the logit difference
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = utils.logits_to_ave_logit_diff(logits.half(), answer_tokens).float()
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
