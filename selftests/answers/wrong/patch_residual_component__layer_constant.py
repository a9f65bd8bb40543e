# Always takes layer 0's clean values.
# message: clean_cache[hook.name]
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache["resid_pre", 0][:, pos]
    return corrupted_residual_component
