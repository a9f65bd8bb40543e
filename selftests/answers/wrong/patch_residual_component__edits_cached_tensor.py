# Fills the cached tensor's other positions and returns it.
# message: the clean cache was changed
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    clean = clean_cache[hook.name]
    kept = clean[:, pos].clone()
    clean[:] = corrupted_residual_component
    clean[:, pos] = kept
    return clean
