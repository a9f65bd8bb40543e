# Returns a list of heads.
# message: a list
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return list(corrupted_head_vector.unbind(2))
