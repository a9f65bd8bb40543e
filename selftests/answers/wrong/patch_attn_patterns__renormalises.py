# Makes every row sum to one afterwards.
# message: it writes other values: the clean values are those of clean_cache[hook.name], read at the same index
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index] = clean_cache[hook.name][:, head_index]
    return corrupted_pattern / corrupted_pattern.sum(-1, keepdim=True)
