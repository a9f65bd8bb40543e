# Lets transformer_lens.patching do the work, under another name.
# message: it called a function of transformer_lens.patching
from transformer_lens.patching import get_act_patch_resid_pre as theirs


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    return theirs(model, corrupted_tokens, clean_cache, patching_metric)
