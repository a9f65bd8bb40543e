# At the first position.
# message: read the prediction at END, the last position
def kl_to_clean(logits, clean_logits):
    log_p, log_clean = logits[:, 0].log_softmax(-1), clean_logits[:, 0].log_softmax(-1)
    return (log_clean.exp() * (log_clean - log_p)).sum(-1).mean()
