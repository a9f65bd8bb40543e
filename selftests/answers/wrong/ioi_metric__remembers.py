# Gives its first result again and again.
# message: ioi_metric on random logits of shape [1 4 7]
import utils

results = []


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    results.append((logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff))
    return results[0]
