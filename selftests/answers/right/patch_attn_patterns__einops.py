# einops puts the heads in front and back again, and a list takes the clean one.
from einops import rearrange


def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    heads = list(rearrange(corrupted_pattern, "batch head query key -> head batch query key"))
    heads[head_index] = clean_cache[hook.name][:, head_index]
    return rearrange(heads, "head batch query key -> batch head query key")
