# An object with __call__ in place of a function.
class Patch:
    def __call__(self, corrupted_pattern, hook, head_index, clean_cache):
        corrupted_pattern = corrupted_pattern.clone()
        corrupted_pattern[:, head_index, :, :] = clean_cache[hook.name][:, head_index, :, :]
        return corrupted_pattern


patch_attn_patterns = Patch()
