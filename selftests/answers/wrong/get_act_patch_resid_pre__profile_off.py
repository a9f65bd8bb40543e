# Switches off for a while what notices a call of transformer_lens.patching.
# message: it called a function of transformer_lens.patching
import sys

from transformer_lens import patching


def get_act_patch_resid_pre(*args):
    profile = sys.getprofile()
    sys.setprofile(None)
    try:
        return patching.get_act_patch_resid_pre(*args)
    finally:
        sys.setprofile(profile)
