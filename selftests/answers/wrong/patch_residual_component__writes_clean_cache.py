# Swaps clean and corrupted: writes into the clean cache.
# message: the clean cache was changed
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    clean_cache[hook.name][:, pos] = corrupted_residual_component[:, pos]
    return clean_cache[hook.name]
