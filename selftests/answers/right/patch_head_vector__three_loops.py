# Copies vector by vector, with loops over prompts and positions.
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    clean = clean_cache[hook.name]
    n_prompts, n_positions = corrupted_head_vector.shape[:2]
    for prompt in range(n_prompts):
        for position in range(n_positions):
            corrupted_head_vector[prompt, position, head_index] = clean[prompt, position, head_index]
    return corrupted_head_vector
