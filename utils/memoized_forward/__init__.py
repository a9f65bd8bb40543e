"""Memoized forward passes: what the patched runs of one sweep have in common is computed once.

`blocks` returns the last outputs of a block whose inputs are its last ones, and `suffix_cache` has final residual
streams by the inputs of the block after the patch.
"""

from utils.memoized_forward.blocks import memoized_forward
from utils.memoized_forward.suffix_cache import SuffixCache

__all__ = ["SuffixCache", "memoized_forward"]
