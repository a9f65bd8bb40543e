# Of the first prompt alone.
# message: average over all prompts, not only one
def kl_to_clean(logits, clean_logits):
    log_p, log_clean = logits[:, -1].log_softmax(-1), clean_logits[:, -1].log_softmax(-1)
    return (log_clean.exp() * (log_clean - log_p)).sum(-1)[0]
