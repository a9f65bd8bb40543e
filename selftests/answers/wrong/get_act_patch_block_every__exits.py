# Leaves the program from within the hook.
# message: SystemExit
import sys


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    logits = model.run_with_hooks(
        corrupted_tokens, fwd_hooks=[("blocks.0.hook_resid_pre", lambda x, hook: sys.exit("done"))]
    )
    return patching_metric(logits)
