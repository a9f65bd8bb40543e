# Raises an exception whose text raises another.
# message: it happened in line 14 of ioi_metric
class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    raise Silent()
