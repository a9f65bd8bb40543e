# Tries to have the check skipped.
# message: Skipped
import pytest


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    pytest.skip()
