# Returns NaN.
# message: nan
import torch


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    return torch.tensor(float("nan"))
