# Returns the heads in front.
# message: a tensor of shape [3, 2, 5, 7]
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    corrupted_head_vector[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return corrupted_head_vector.permute(2, 0, 1, 3)
