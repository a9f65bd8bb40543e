# Finds transformer_lens.patching among the names that utils.references imported.
# message: it called a function of transformer_lens.patching
import utils.references


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    theirs = utils.references.patching.get_act_patch_resid_pre
    return theirs(model, corrupted_tokens, clean_cache, patching_metric)
