# Runs without the hook.
# message: without a patch
import torch


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(model.cfg.n_layers, corrupted_tokens.shape[1])
    for layer in range(model.cfg.n_layers):
        for pos in range(corrupted_tokens.shape[1]):
            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[])
            results[layer, pos] = patching_metric(logits)
    return results
