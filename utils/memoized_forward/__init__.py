"""Memoized forward passes: what the patched runs of one sweep have in common is computed once.

`blocks` returns the last outputs of a block whose inputs are its last ones, and `suffix_cache` has final residual
streams by the inputs of the block after the patch.
"""
