# torch.take_along_dim reads the two logits, torch.diff subtracts them; arithmetic in float64, cast back at the end.
import torch


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    pair = torch.take_along_dim(logits[:, -1].double(), answer_tokens, dim=-1)
    logit_diff = -pair.diff(dim=-1).mean()
    return ((logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)).float()
