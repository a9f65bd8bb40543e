# Adds up the prompts in place of averaging.
# message: average over the prompts, do not sum
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens, per_prompt=True).sum()
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
