# Takes head and cache as **others.
def patch_head_vector(corrupted_head_vector, hook, **others):
    head = others["head_index"]
    corrupted_head_vector[:, :, head] = others["clean_cache"][hook.name][:, :, head]
    return corrupted_head_vector
