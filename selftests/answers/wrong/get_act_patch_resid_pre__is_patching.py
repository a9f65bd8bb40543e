# Is transformer_lens.patching's own function.
# message: it called a function of transformer_lens.patching
from transformer_lens.patching import get_act_patch_resid_pre  # noqa: F401
