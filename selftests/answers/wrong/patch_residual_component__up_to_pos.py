# Patches every position up to the asked one.
# message: it changes pos 0, 1, 2: index axis 1 with pos, on both sides
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, : pos + 1] = clean_cache[hook.name][:, : pos + 1]
    return corrupted_residual_component
