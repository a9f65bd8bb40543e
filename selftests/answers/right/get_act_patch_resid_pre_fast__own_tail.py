# Does without run_from_layer, and clones row by row.
import torch


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    with torch.no_grad():
        logits, cache = model.run_with_cache(corrupted_tokens, names_filter=lambda name: name.endswith("resid_pre"))
        unpatched = patching_metric(logits)
        results = torch.empty(model.cfg.n_layers, corrupted_tokens.shape[1]).fill_(unpatched)
        for layer, pos in torch.cartesian_prod(*map(torch.arange, results.shape)).tolist():
            clean = clean_cache["resid_pre", layer][:, pos]
            stream = cache["resid_pre", layer].clone()
            if torch.equal(stream[:, pos], clean):
                continue
            stream[:, pos] = clean
            for block in model.blocks[layer:]:
                stream = block(stream)[0]
            results[layer, pos] = patching_metric(model.unembed(model.ln_final(stream)))
    return results
