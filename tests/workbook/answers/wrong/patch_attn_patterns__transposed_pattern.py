# Turns queries and keys round.
# message: shape [2, 3, 7, 5]
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index] = clean_cache[hook.name][:, head_index]
    return corrupted_pattern.mT
