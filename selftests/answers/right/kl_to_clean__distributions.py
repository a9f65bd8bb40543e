# torch's own distributions.
from torch.distributions import Categorical, kl_divergence


def kl_to_clean(logits, clean_logits):
    clean, other = Categorical(logits=clean_logits[:, -1]), Categorical(logits=logits[:, -1])
    return kl_divergence(clean, other).mean()
