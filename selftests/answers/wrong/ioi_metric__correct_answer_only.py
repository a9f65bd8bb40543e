# Takes the correct answer's logit alone.
# message: subtract the logits of the incorrect answers
def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit = logits[:, -1].gather(1, answer_tokens[:, :1]).mean()
    return (logit - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
