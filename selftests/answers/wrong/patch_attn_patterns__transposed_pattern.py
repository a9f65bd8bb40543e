# Turns queries and keys round.
# message: the axes should be [batch head_index pos_q pos_k]
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:, head_index] = clean_cache[hook.name][:, head_index]
    return corrupted_pattern.mT
