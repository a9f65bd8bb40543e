# Always patches position 0.
# message: it changes pos 0, not pos 2
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, 0] = clean_cache[hook.name][:, 0]
    return corrupted_residual_component
