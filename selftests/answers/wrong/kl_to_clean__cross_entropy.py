# The cross-entropy.
# message: this is the cross-entropy
def kl_to_clean(logits, clean_logits):
    p, clean = logits[:, -1].softmax(-1), clean_logits[:, -1].softmax(-1)
    return -(clean * p.log()).sum(-1).mean()
