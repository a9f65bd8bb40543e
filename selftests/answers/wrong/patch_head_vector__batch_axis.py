# Indexes the prompts.
# message: the head axis is axis 2
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[head_index % 2] = clean_cache[hook.name][head_index % 2]
    return corrupted_head_vector
