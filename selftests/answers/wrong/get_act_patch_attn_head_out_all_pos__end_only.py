# Patches the head at the last position alone.
# message: that patches z of layer 0 at head 0, in pos 5 only
import torch


def get_act_patch_attn_head_out_all_pos(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(model.cfg.n_layers, model.cfg.n_heads)
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):

            def patch(z, hook, head=head):
                z[:, -1, head] = clean_cache[hook.name][:, -1, head]
                return z

            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", patch)])
            results[layer, head] = patching_metric(logits)
    return results
