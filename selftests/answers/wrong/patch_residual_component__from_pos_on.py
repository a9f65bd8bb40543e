# Patches every position from the asked one on.
# message: it changes pos 2, 3, 4: index axis 1 with pos, on both sides
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos:] = clean_cache[hook.name][:, pos:]
    return corrupted_residual_component
