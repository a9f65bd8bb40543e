# Not begun.
# message: patch_with_frozen is not implemented yet
def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    raise NotImplementedError
