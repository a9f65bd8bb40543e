# Writes head 0's clean values everywhere it is asked.
# message: read at the same index
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, head_index] = clean_cache[hook.name][:, :, 0]
    return corrupted_head_vector
