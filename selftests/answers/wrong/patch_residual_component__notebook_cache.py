# Uses the notebook's clean_cache for want of an argument.
# message: keep the first lines of the function as in the exercise
def patch_residual_component(corrupted_residual_component, hook, pos):
    corrupted_residual_component[:, pos] = clean_cache[hook.name][:, pos]
    return corrupted_residual_component
