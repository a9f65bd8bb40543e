# Patches the first prompt only.
# message: has the clean values in prompt 0 only
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[0, pos] = clean_cache[hook.name][0, pos]
    return corrupted_residual_component
