# Always patches head 0.
# message: it changes head 0, not head 1
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, 0] = clean_cache[hook.name][:, 0]
    return corrupted_pattern
