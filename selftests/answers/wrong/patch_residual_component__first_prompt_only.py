# Patches the first prompt only.
# message: it changes pos 2, in prompt 0 only: take the other axes whole, with `:`
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[0, pos] = clean_cache[hook.name][0, pos]
    return corrupted_residual_component
