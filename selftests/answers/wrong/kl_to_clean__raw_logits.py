# A difference of logits.
# message: a logit is one only after log_softmax
def kl_to_clean(logits, clean_logits):
    clean = clean_logits[:, -1].softmax(-1)
    return (clean * (clean_logits[:, -1] - logits[:, -1])).sum(-1).mean()
