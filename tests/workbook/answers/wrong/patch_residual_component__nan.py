# Divides by zero.
# message: changed, but not to clean values
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    return corrupted_residual_component * float("nan")
