# Puts the corrupted activation into the clean cache.
# message: the clean cache was changed
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache[hook.name][:, pos]
    clean_cache.cache_dict[hook.name] = corrupted_residual_component
    return corrupted_residual_component
