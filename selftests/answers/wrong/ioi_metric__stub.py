# Not begun.
# message: ioi_metric is not implemented yet
def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    # YOUR CODE HERE
    raise NotImplementedError()
