# One run for each layer: the prompts are repeated once for every position, and each copy is patched at its own.
import torch


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    n_prompts, n_positions = corrupted_tokens.shape
    repeated = corrupted_tokens.repeat(n_positions, 1)
    results = torch.zeros(model.cfg.n_layers, n_positions)
    for layer in range(model.cfg.n_layers):
        clean = clean_cache["resid_pre", layer]

        def patch_each_copy(x, hook, clean=clean):
            copies = x.unflatten(0, (n_positions, n_prompts))
            for pos in range(n_positions):
                copies[pos, :, pos] = clean[:, pos]
            return copies.flatten(0, 1)

        name = f"blocks.{layer}.hook_resid_pre"
        logits = model.run_with_hooks(repeated, fwd_hooks=[(name, patch_each_copy)])
        for pos, copy in enumerate(logits.split(n_prompts)):
            results[layer, pos] = patching_metric(copy)
    return results
