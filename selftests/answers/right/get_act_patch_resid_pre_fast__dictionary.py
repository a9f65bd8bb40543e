# Collects the entries that differ, and fills the others in at the end.
import torch


def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)[0]
    return model.unembed(model.ln_final(residual))


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    corrupted_logits, corrupted_cache = model.run_with_cache(corrupted_tokens)
    found = {}
    for layer in range(model.cfg.n_layers):
        differing = (clean_cache["resid_pre", layer] != corrupted_cache["resid_pre", layer]).any(-1).any(0)
        for pos in differing.nonzero().flatten().tolist():
            residual = corrupted_cache["resid_pre", layer].clone()
            residual[:, pos] = clean_cache["resid_pre", layer][:, pos]
            found[layer, pos] = patching_metric(run_from_layer(model, residual, layer))
    unpatched = patching_metric(corrupted_logits)
    layers, positions = range(model.cfg.n_layers), range(corrupted_tokens.shape[1])
    return torch.stack([torch.stack([found.get((layer, pos), unpatched) for pos in positions]) for layer in layers])
