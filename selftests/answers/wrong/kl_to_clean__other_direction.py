# The divergence of the clean run from the other.
# message: this is the other direction
def kl_to_clean(logits, clean_logits):
    log_p, log_clean = logits[:, -1].log_softmax(-1), clean_logits[:, -1].log_softmax(-1)
    return (log_p.exp() * (log_p - log_clean)).sum(-1).mean()
