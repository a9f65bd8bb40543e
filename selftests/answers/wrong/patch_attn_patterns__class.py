# A class, whose instances would be returned.
# message: a Patch
class Patch:
    def __init__(self, corrupted_pattern, hook, head_index, clean_cache):
        self.pattern = corrupted_pattern


patch_attn_patterns = Patch
