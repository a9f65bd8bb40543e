# Writes the clean values' mean over the prompts.
# message: it writes the clean values averaged over the prompts
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache[hook.name][:, pos].mean(0)
    return corrupted_residual_component
