"""Forward passes that are computed once: what the patched runs of one sweep have in common.

`blocks` answers a block's repeated call from its last result, `suffix_cache` keeps how patched runs go on after the
patch, and `hook_names` looks a model's hook points up once.
"""
