# Not begun.
# message: path_patch is not implemented yet
def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    raise NotImplementedError
