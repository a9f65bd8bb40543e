# A right sweep over a hook with other names for its arguments and an error: the check prints which of the two is wrong.
import torch
from transformer_lens.utilities import get_act_name


def patch_head_vector(z, hook, head, cache):
    z[:, :, head_index] = cache[hook.name][:, :, head]
    return z


def get_act_patch_attn_head_out_all_pos(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(model.cfg.n_layers, model.cfg.n_heads)
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):

            def patch(z, hook, head=head):
                return patch_head_vector(z, hook, head, cache=clean_cache)

            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name("z", layer), patch)])
            results[layer, head] = patching_metric(logits)
    return results
