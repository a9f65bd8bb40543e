# Patches every head.
# message: head 1, 2 changed too
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    return clean_cache[hook.name].clone()
