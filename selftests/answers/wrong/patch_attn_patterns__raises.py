# Raises an error with a text of several lines.
# message: ValueError: first second third
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    raise ValueError("first\nsecond\nthird")
