# Writes the clean values with their sign turned.
# message: it writes the negative of the clean values
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = -clean_cache[hook.name][:, pos]
    return corrupted_residual_component
