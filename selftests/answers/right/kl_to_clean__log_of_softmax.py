# Logarithms of probabilities.
def kl_to_clean(logits, clean_logits):
    p, clean = logits[:, -1].softmax(-1), clean_logits[:, -1].softmax(-1)
    return (clean * (clean.log() - p.log())).sum(-1).mean()
