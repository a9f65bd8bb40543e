# Clones, edits the clone, returns it; the activation stays as it was.
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    patched = corrupted_residual_component.clone()
    patched[:, pos] = clean_cache[hook.name][:, pos]
    return patched
