# Not begun, with a text in the error.
# message: NotImplementedError: to do
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    raise NotImplementedError("to do")
