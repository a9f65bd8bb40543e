# Not begun.
# message: get_act_patch_block_every is not implemented yet
def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    # YOUR CODE HERE
    raise NotImplementedError()
