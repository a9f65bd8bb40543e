# Edits the head's pattern in place.
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index] = clean_cache[hook.name][:, head_index]
    return corrupted_pattern
