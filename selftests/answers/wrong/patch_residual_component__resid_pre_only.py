# Takes the layer from the hook, but resid_pre always.
# message: it happened in line 4 of patch_residual_component
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache["resid_pre", hook.layer()][:, pos]
    return corrupted_residual_component
