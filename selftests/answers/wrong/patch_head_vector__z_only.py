# Looks up z whatever the hook is.
# message: clean_cache["z", hook.layer()]
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, head_index] = clean_cache["z", hook.layer()][:, :, head_index]
    return corrupted_head_vector
