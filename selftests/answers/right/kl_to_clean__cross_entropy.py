# Cross-entropy less that of the clean run with itself.
from torch.nn.functional import cross_entropy


def kl_to_clean(logits, clean_logits):
    clean = clean_logits[:, -1].softmax(dim=-1)
    return cross_entropy(logits[:, -1], clean) - cross_entropy(clean_logits[:, -1], clean)
