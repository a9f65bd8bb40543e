# Patches the position before.
# message: pos 0 was not changed, and pos 4 changed
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos - 1] = clean_cache[hook.name][:, pos - 1]
    return corrupted_residual_component
