# Always patches head 0.
# message: head 1 was not changed, and head 0 changed
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, 0] = clean_cache[hook.name][:, 0]
    return corrupted_pattern
