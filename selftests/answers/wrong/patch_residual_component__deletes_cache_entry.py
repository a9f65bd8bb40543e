# Takes the entry out of the clean cache.
# message: the clean cache was changed
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache.cache_dict.pop(hook.name)[:, pos]
    return corrupted_residual_component
