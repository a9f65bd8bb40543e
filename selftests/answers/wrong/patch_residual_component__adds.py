# Adds the clean values in place of replacing by them.
# message: it writes the sum of the corrupted and the clean values
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] += clean_cache[hook.name][:, pos]
    return corrupted_residual_component
