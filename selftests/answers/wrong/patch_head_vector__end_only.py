# Patches the last position only.
# message: it changes head 1, in pos 4 only: take the other axes whole, with `:`
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, -1, head_index] = clean_cache[hook.name][:, -1, head_index]
    return corrupted_head_vector
