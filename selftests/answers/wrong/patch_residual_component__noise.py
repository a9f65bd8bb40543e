# Adds a little to the clean values.
# message: it writes almost the clean values
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache[hook.name][:, pos] + 1e-6
    return corrupted_residual_component
