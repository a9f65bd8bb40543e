# Divides by zero.
# message: it writes other values: the clean values are those of clean_cache[hook.name], read at the same index
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    return corrupted_residual_component * float("nan")
