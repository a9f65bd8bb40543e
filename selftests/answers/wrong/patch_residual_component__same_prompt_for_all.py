# Copies the first clean prompt's values into all prompts.
# message: it writes the clean values of prompt 0 for every prompt
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache[hook.name][0, pos]
    return corrupted_residual_component
