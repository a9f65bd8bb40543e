# Takes only the logits.
# message: keep the first lines of the function as in the exercise
import utils


def ioi_metric(logits):
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
