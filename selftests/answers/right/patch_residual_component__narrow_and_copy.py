# A view of the slice is made with narrow and filled with copy_.
def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component.narrow(1, pos, 1).copy_(clean_cache[hook.name].narrow(1, pos, 1))
    return corrupted_residual_component
