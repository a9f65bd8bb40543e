# At every position.
# message: not at all positions
def kl_to_clean(logits, clean_logits):
    log_p, log_clean = logits.log_softmax(-1), clean_logits.log_softmax(-1)
    return (log_clean.exp() * (log_clean - log_p)).sum(-1).mean()
