# Patches every head but the asked one.
# message: it changes head 0, 2, not head 1
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    patched = clean_cache[hook.name].clone()
    patched[:, :, head_index] = corrupted_head_vector[:, :, head_index]
    return patched
