# One run for each layer, with the prompts repeated for every head.
import torch


def get_act_patch_attn_head_out_all_pos(model, corrupted_tokens, clean_cache, patching_metric):
    n_prompts, n_heads = len(corrupted_tokens), model.cfg.n_heads
    repeated = torch.cat([corrupted_tokens] * n_heads)

    def patch(z, hook):
        for head in range(n_heads):
            z[head * n_prompts : (head + 1) * n_prompts, :, head] = clean_cache[hook.name][:, :, head]
        return z

    rows = []
    for layer in range(model.cfg.n_layers):
        logits = model.run_with_hooks(repeated, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", patch)])
        rows.append([patching_metric(copy).item() for copy in logits.split(n_prompts)])
    return torch.tensor(rows)
