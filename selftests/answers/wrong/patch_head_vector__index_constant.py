# Always patches head 2.
# message: it changes head 2, not head 1
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, 2] = clean_cache[hook.name][:, :, 2]
    return corrupted_head_vector
