# Uses the first prompt only.
# message: average over all prompts, not only one
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = utils.logits_to_ave_logit_diff(logits[:1], answer_tokens[:1])
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
