# select_scatter along the head axis.
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    return corrupted_head_vector.select_scatter(clean_cache[hook.name].select(2, head_index), 2, head_index)
