# Counts the positions from the end, in the hook but not in the table.
# message: that patches resid_pre of layer 0 at pos 5
import torch
from transformer_lens.utilities import get_act_name


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(model.cfg.n_layers, corrupted_tokens.shape[1])
    for layer in range(model.cfg.n_layers):
        for pos in range(corrupted_tokens.shape[1]):

            def patch(x, hook, pos=pos):
                x[:, -pos] = clean_cache[hook.name][:, -pos]
                return x

            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name("resid_pre", layer), patch)])
            results[layer, pos] = patching_metric(logits)
    return results
