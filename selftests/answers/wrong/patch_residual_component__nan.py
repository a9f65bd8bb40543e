# Divides by zero.
# message: pos 0 was changed, but not to the clean values
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    return corrupted_residual_component * float("nan")
