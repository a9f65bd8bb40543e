# Lets utils.sweeps do the work.
# message: utils.sweeps
from utils import sweeps


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    return sweeps.get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric)
