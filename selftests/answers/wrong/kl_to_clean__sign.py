# The sign is flipped.
# message: the sign is flipped
def kl_to_clean(logits, clean_logits):
    log_p, log_clean = logits[:, -1].log_softmax(-1), clean_logits[:, -1].log_softmax(-1)
    return (log_clean.exp() * (log_p - log_clean)).sum(-1).mean()
