# One loop over the number of the head in the whole model, divmod for layer and head.
import torch
from transformer_lens.utilities import get_act_name


def get_act_patch_attn_head_out_all_pos(model, corrupted_tokens, clean_cache, patching_metric):
    n_heads = model.cfg.n_heads
    results = torch.zeros(model.cfg.n_layers * n_heads)
    for number in range(len(results)):
        layer, head = divmod(number, n_heads)

        def patch(z, hook, head=head):
            z[:, :, head] = clean_cache[hook.name][:, :, head]
            return z

        results[number] = patching_metric(
            model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name("z", layer), patch)])
        )
    return results.reshape(-1, n_heads)
