# Always patches head 2.
# message: head 0 was not changed, and head 2 changed
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, 2] = clean_cache[hook.name][:, :, 2]
    return corrupted_head_vector
