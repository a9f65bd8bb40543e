# A softmax over the prompts.
# message: the softmax goes over the vocabulary, the last axis
def kl_to_clean(logits, clean_logits):
    log_p, log_clean = logits[:, -1].log_softmax(0), clean_logits[:, -1].log_softmax(0)
    return (log_clean.exp() * (log_clean - log_p)).sum(-1).mean()
