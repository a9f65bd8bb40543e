# Edits in place and returns nothing.
# message: end with `return`
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache[hook.name][:, pos]
