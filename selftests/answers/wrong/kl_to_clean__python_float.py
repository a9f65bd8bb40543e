# A Python number.
# message: remove .item() and float()
def kl_to_clean(logits, clean_logits):
    log_p, log_clean = logits[:, -1].log_softmax(-1), clean_logits[:, -1].log_softmax(-1)
    return (log_clean.exp() * (log_clean - log_p)).sum(-1).mean().item()
