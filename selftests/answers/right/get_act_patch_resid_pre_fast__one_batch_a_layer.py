# All positions of a layer in one batch.
import torch


def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)[0]
    return model.unembed(model.ln_final(residual))


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    corrupted_logits, corrupted_cache = model.run_with_cache(corrupted_tokens)
    batch, n_positions = corrupted_tokens.shape
    results = patching_metric(corrupted_logits).expand(model.cfg.n_layers, n_positions).clone()
    for layer in range(model.cfg.n_layers):
        clean, corrupted = clean_cache["resid_pre", layer], corrupted_cache["resid_pre", layer]
        positions = [pos for pos in range(n_positions) if (clean[:, pos] != corrupted[:, pos]).any()]
        if not positions:
            continue
        residual = corrupted.repeat(len(positions), 1, 1).unflatten(0, (len(positions), batch))
        for row, pos in enumerate(positions):
            residual[row, :, pos] = clean[:, pos]
        logits = run_from_layer(model, residual.flatten(0, 1), layer).unflatten(0, (len(positions), batch))
        results[layer, positions] = torch.stack([patching_metric(part) for part in logits])
    return results
