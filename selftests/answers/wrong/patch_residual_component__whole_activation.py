# Patches every position.
# message: pos 1, 2, 3, 4 changed too
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:] = clean_cache[hook.name]
    return corrupted_residual_component
