# Patches the row of the last query alone.
# message: head 0 has clean values in some places only
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index, -1] = clean_cache[hook.name][:, head_index, -1]
    return corrupted_pattern
