# Has a wrong hook, and patches END by itself: a right hook in its place is never called.
# message: that patches resid_pre of layer 0 at pos 5, not resid_pre of layer 0 at pos 0
import torch
from transformer_lens.utilities import get_act_name


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    corrupted_residual_component[:, -1] = clean_cache[hook.name][:, -1]
    return corrupted_residual_component


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    def patch(residual, hook):
        residual[:, -1] = clean_cache[hook.name][:, -1]
        return residual

    n_layers, n_positions = model.cfg.n_layers, corrupted_tokens.shape[1]
    results = torch.zeros(n_layers, n_positions)
    for layer in range(n_layers):
        for pos in range(n_positions):
            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name("resid_pre", layer), patch)])
            results[layer, pos] = patching_metric(logits)
    return results
