# Leaves 0 where a patch changes nothing.
# message: the entries that no patch changes are 0: they should be the metric of the corrupted run
import torch


def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)[0]
    return model.unembed(model.ln_final(residual))


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    _, corrupted_cache = model.run_with_cache(corrupted_tokens)
    n_layers, n_positions = model.cfg.n_layers, corrupted_tokens.shape[1]
    results = torch.zeros(n_layers, n_positions)
    for layer in range(n_layers):
        clean, corrupted = clean_cache["resid_pre", layer], corrupted_cache["resid_pre", layer]
        for pos in range(n_positions):
            if not torch.equal(clean[:, pos], corrupted[:, pos]):
                residual = corrupted.clone()
                residual[:, pos] = clean[:, pos]
                results[layer, pos] = patching_metric(run_from_layer(model, residual, layer))
    return results
