# Returns the kept reference of the notebook.
# message: it called a function of utils.references
import utils


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    return utils.reference_sweep("get_act_patch_resid_pre", utils.model_in_use(), data)
