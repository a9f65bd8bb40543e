# Assigns to a name and returns the activation as it came.
# message: the activation is returned unchanged: write the clean values to it, or to a new tensor, and return that
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    slice_at_pos = corrupted_residual_component[:, pos]
    slice_at_pos = clean_cache[hook.name][:, pos]  # noqa: F841
    return corrupted_residual_component
