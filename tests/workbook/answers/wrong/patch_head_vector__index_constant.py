# Always patches head 2.
# message: clean values stand at head_index 2
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, 2] = clean_cache[hook.name][:, :, 2]
    return corrupted_head_vector
