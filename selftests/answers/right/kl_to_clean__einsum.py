# einsum, with other names for the arguments.
import torch


def kl_to_clean(x, reference):
    log_p, log_q = torch.stack([reference, x])[:, :, -1].log_softmax(-1)
    return torch.einsum("bv,bv->b", log_p.exp(), log_p - log_q).sum() / len(x)
