# Patches the row of the last query alone.
# message: it changes head 1, in pos_q 4 only: take the other axes whole, with `:`
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index, -1] = clean_cache[hook.name][:, head_index, -1]
    return corrupted_pattern
