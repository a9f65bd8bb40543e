# Misspells a name.
# message: NameError
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, position] = clean_cache[hook.name][:, position]
    return corrupted_residual_component
