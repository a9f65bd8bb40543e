# Returns the slice alone.
# message: not only the slice
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    return clean_cache[hook.name][:, pos]
