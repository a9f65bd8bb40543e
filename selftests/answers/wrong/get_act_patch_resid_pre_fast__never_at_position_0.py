# Takes it for granted that the prompts agree at position 0.
# message: where the prompts differ from position 0 on
def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    corrupted_logits, corrupted_cache = model.run_with_cache(corrupted_tokens)
    n_layers, n_positions = model.cfg.n_layers, corrupted_tokens.shape[1]
    results = patching_metric(corrupted_logits).repeat(n_layers, n_positions)
    for layer in range(n_layers):
        clean, corrupted = clean_cache["resid_pre", layer], corrupted_cache["resid_pre", layer]
        for pos in range(1, n_positions):
            if (clean[:, pos] != corrupted[:, pos]).any():
                residual = corrupted.clone()
                residual[:, pos] = clean[:, pos]
                for block in model.blocks[layer:]:
                    residual = block(residual)[0]
                results[layer, pos] = patching_metric(model.unembed(model.ln_final(residual)))
    return results
