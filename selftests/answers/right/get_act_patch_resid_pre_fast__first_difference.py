# Looks for the first difference once, in what enters layer 0.
import torch


def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)[0]
    return model.unembed(model.ln_final(residual))


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    corrupted_logits, corrupted_cache = model.run_with_cache(corrupted_tokens)
    differs = (clean_cache["resid_pre", 0] != corrupted_cache["resid_pre", 0]).flatten(2).any(-1).any(0)
    first = differs.nonzero().min().item()
    n_layers, n_positions = model.cfg.n_layers, corrupted_tokens.shape[1]
    results = torch.full((n_layers, n_positions), patching_metric(corrupted_logits).item())
    for layer in range(n_layers):
        for pos in range(first, n_positions):
            residual = corrupted_cache["resid_pre", layer].clone()
            residual[:, pos] = clean_cache["resid_pre", layer][:, pos]
            results[layer, pos] = patching_metric(run_from_layer(model, residual, layer))
    return results
