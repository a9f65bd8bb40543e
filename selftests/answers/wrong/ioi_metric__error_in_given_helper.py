# Passes wrong arguments to the given helper; the line shown is the learner's.
# message: utils.logits_to_ave_logit_diff(answer_tokens, logits)
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    return utils.logits_to_ave_logit_diff(answer_tokens, logits)
