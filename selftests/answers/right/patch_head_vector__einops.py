# einops moves the head axis to the front and back.
from einops import rearrange


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    heads_first = rearrange(corrupted_head_vector, "batch pos head d_head -> head batch pos d_head").clone()
    heads_first[head_index] = rearrange(clean_cache[hook.name], "batch pos head d_head -> head batch pos d_head")[
        head_index
    ]
    return rearrange(heads_first, "head batch pos d_head -> batch pos head d_head")
