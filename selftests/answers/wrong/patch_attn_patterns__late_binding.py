# Helpers made in a loop, one for each head, all of which see the last head.
# message: it changes head 2, not head 1
def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
    def nothing(pattern, clean):
        return pattern

    helpers = [nothing] * corrupted_pattern.shape[1]
    for head in range(len(helpers)):

        def helper(pattern, clean):
            pattern[:, head] = clean[:, head]  # noqa: B023
            return pattern

        helpers[head] = helper
    return helpers[head_index](corrupted_pattern, clean_cache[hook.name])
