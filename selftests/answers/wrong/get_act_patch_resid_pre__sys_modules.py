# Finds transformer_lens.patching in sys.modules.
# message: it called a function of transformer_lens.patching
import sys


def get_act_patch_resid_pre(*arguments, **named):
    return vars(sys.modules["transformer_lens.patching"])["get_act_patch_resid_pre"](*arguments, **named)
