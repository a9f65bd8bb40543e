# Not begun.
# message: get_act_patch_resid_pre_fast is not implemented yet
def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    raise NotImplementedError
