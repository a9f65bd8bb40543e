# Works in float64 and gives back the activation's own type.
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    patched = corrupted_residual_component.double()
    patched[:, pos] = clean_cache[hook.name][:, pos].double()
    return patched.to(corrupted_residual_component.dtype)
