# Returns the heads in front.
# message: the axes should be [batch pos head_index d_head]
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return corrupted_head_vector.permute(2, 0, 1, 3)
