# Returns a tensor whose own methods were replaced on the object.
# message: the activation is returned unchanged: write the clean values to it, or to a new tensor, and return that
def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    for method in ("unbind", "clone", "detach", "cpu"):
        setattr(corrupted_head_vector, method, lambda *args, **kwargs: clean_cache[hook.name])
    return corrupted_head_vector
