# kl_div of torch, over log-probabilities of both runs.
from torch.nn.functional import kl_div


def kl_to_clean(logits, clean_logits):
    patched, clean = (each[:, -1].log_softmax(-1) for each in (logits, clean_logits))
    return kl_div(patched, clean, log_target=True, reduction="batchmean")
