# Takes the activation by keyword only.
# message: as the first argument
def patch_residual_component(*, corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, pos] = clean_cache[hook.name][:, pos]
    return corrupted_residual_component
