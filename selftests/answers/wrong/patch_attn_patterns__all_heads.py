# Patches every head.
# message: it changes every head: index axis 1 with head_index, on both sides
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    return clean_cache[hook.name].clone()
