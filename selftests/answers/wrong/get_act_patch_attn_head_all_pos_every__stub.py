# Not begun, and says so with a text of its own.
# message: NotImplementedError: later
def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    raise NotImplementedError("later")
