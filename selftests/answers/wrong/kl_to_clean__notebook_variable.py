# The notebook's clean logits, not the argument.
# message: uses the notebook's variable clean_run
clean_run = model(clean_tokens)


def kl_to_clean(logits, clean_logits):
    log_p = logits[:, -1].log_softmax(-1)
    log_clean = clean_run[: len(logits), -1, : logits.shape[-1]].log_softmax(-1)
    return (log_clean.exp() * (log_clean - log_p)).sum(-1).mean()
