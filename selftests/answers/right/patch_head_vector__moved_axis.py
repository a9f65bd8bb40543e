# Writes through a view in which the heads come first.
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector.movedim(2, 0)[head_index] = clean_cache[hook.name].movedim(2, 0)[head_index]
    return corrupted_head_vector
