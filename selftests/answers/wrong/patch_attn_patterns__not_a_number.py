# Divides the clean pattern by zero.
# message: nan
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index] = (
        clean_cache[hook.name][:, head_index] - clean_cache[hook.name][:, head_index]
    ) / 0
    return corrupted_pattern
