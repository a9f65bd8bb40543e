# One run for each component and layer, with the prompts repeated for every head.
import torch


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    n_prompts, n_heads = len(corrupted_tokens), model.cfg.n_heads
    repeated = corrupted_tokens.repeat(n_heads, 1)

    def patch(activation, hook):
        axis = 1 if hook.name.endswith("hook_pattern") else 2
        for head, copy in enumerate(activation.split(n_prompts)):
            copy.select(axis, head).copy_(clean_cache[hook.name].select(axis, head))
        return activation

    results = torch.zeros(5, model.cfg.n_layers, n_heads)
    for i, component in enumerate(("z", "q", "k", "v", "pattern")):
        for layer in range(model.cfg.n_layers):
            logits = model.run_with_hooks(repeated, fwd_hooks=[(f"blocks.{layer}.attn.hook_{component}", patch)])
            results[i, layer] = torch.stack([patching_metric(copy) for copy in logits.split(n_prompts)])
    return results
