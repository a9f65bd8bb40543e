# Raises an AssertionError without text.
# message: in line 9 of ioi_metric: assert
def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    assert logits is None
