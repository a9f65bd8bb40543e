# Not begun.
# message: patch_head_vector is not implemented yet
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    raise NotImplementedError
