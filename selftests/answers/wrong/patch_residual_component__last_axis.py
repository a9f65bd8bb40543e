# Indexes the last axis.
# message: the pos axis is axis 1
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, :, pos] = clean_cache[hook.name][:, :, pos]
    return corrupted_residual_component
