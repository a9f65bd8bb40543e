# Raises with a PyTorch hook still on a block.
# message: RuntimeError: no luck
def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    model.blocks[0].register_forward_hook(lambda module, given, output: None)
    raise RuntimeError("no luck")
