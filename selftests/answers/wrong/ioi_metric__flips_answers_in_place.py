# Turns the caller's answer_tokens round, so that the next call differs.
# message: answer_tokens was changed
import utils


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    answer_tokens.copy_(answer_tokens.flip(1))
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
