# Forgets to return.
# message: None
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    result = (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)  # noqa: F841
