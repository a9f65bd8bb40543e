# Two lists of indices pick the logits; the answers are unbound into two tensors.
import torch


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    prompts = torch.arange(logits.shape[0])
    correct, incorrect = answer_tokens.unbind(dim=1)
    logit_diff = torch.mean(logits[prompts, -1, correct] - logits[prompts, -1, incorrect])
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
