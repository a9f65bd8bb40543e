# One number per prompt in a list, then stacked and averaged; a helper of the learner's own; keyword-only options.
import torch


def difference(row, pair):
    return row[pair[0]] - row[pair[1]]


def ioi_metric(
    logits, *, answer_tokens=answer_tokens, corrupted_logit_diff=corrupted_logit_diff, clean_logit_diff=clean_logit_diff
):
    differences = [difference(row, pair) for row, pair in zip(logits[:, -1], answer_tokens, strict=True)]
    scale = clean_logit_diff - corrupted_logit_diff
    return torch.stack(differences).mean() / scale - corrupted_logit_diff / scale
