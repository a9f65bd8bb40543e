# model.add_hook with a reset before and after; the hook gives back nothing and edits in place.
import torch


def get_act_patch_attn_head_out_all_pos(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.ones(model.cfg.n_layers, model.cfg.n_heads).mul(torch.nan)
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):

            def patch(z, hook, head=head):
                z[..., head, :] = clean_cache[hook.name][..., head, :]

            model.reset_hooks()
            model.add_hook(f"blocks.{layer}.attn.hook_z", patch)
            results[layer, head] = patching_metric(model(corrupted_tokens)).detach()
    model.reset_hooks()
    return results
