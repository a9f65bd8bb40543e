# Exchanges the two: the clean cache gets the corrupted values.
# message: the clean cache was changed
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    clean = clean_cache[hook.name]
    kept = clean[:, pos].clone()
    clean[:, pos] = corrupted_residual_component[:, pos]
    corrupted_residual_component[:, pos] = kept
    return corrupted_residual_component
