# Averages clean and corrupted.
# message: it writes the mean of the corrupted and the clean values
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index] = (corrupted_pattern[:, head_index] + clean_cache[hook.name][:, head_index]) / 2
    return corrupted_pattern
