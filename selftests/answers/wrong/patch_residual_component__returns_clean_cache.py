# Returns the cached tensor itself.
# message: pos 1, 2, 3, 4 changed too
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    return clean_cache[hook.name]
