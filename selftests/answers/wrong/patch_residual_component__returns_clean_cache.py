# Returns the cached tensor itself.
# message: it changes every pos: index axis 1 with pos, on both sides
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    return clean_cache[hook.name]
