# Not begun.
# message: kl_to_clean is not implemented yet
def kl_to_clean(logits, clean_logits):
    raise NotImplementedError
