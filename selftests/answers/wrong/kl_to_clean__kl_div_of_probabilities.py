# kl_div of probabilities, which wants log-probabilities.
# message: kl_div's first argument
def kl_to_clean(logits, clean_logits):
    p, clean = logits[:, -1].softmax(-1), clean_logits[:, -1].softmax(-1)
    return (clean * (clean.log() - p)).sum(-1).mean()
