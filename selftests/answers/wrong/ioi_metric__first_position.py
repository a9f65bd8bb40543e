# Reads the logits at position 0.
# message: read the logits at END
def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    end = logits[:, 0].gather(1, answer_tokens)
    logit_diff = (end[:, 0] - end[:, 1]).mean()
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
