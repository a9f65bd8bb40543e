# A loop over the prompts, with logsumexp.
import torch


def kl_to_clean(logits, clean_logits):
    divergences = []
    for row, clean_row in zip(logits, clean_logits, strict=True):
        log_p = row[-1] - row[-1].logsumexp(0)
        log_clean = clean_row[-1] - clean_row[-1].logsumexp(0)
        divergences.append(log_clean.exp() @ (log_clean - log_p))
    return torch.stack(divergences).mean()
