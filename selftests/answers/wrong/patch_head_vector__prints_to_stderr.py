# Prints on stderr and does nothing else.
# message: end with `return`
import sys


def patch_head_vector(corrupted_head_vector, hook, head_index, clean_cache):
    print("head", head_index, "patched", file=sys.stderr)
