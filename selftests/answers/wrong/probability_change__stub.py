# Not begun.
# message: probability_change is not implemented yet
def probability_change(model, clean_tokens, corrupted_cache, answer_tokens, head):
    raise NotImplementedError
