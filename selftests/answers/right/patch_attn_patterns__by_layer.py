# Looks the clean pattern up by its short name and the hook's layer.
def patch_attn_patterns(pattern, hook, head, cache):
    patched = pattern.clone()
    patched[:, head] = cache["pattern", hook.layer()][:, head]
    return patched
