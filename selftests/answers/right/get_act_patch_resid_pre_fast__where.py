# torch.where puts the clean values in.
import torch


def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)[0]
    return model.unembed(model.ln_final(residual))


def get_act_patch_resid_pre_fast(model, corrupted_tokens, clean_cache, patching_metric):
    logits, corrupted_cache = model.run_with_cache(corrupted_tokens)
    positions = torch.arange(corrupted_tokens.shape[1])
    rows = []
    for layer in range(model.cfg.n_layers):
        clean, corrupted = clean_cache["resid_pre", layer], corrupted_cache["resid_pre", layer]
        row = []
        for pos in positions:
            if (clean[:, pos] == corrupted[:, pos]).all():
                row.append(patching_metric(logits))
            else:
                patched = torch.where((positions == pos)[None, :, None], clean, corrupted)
                row.append(patching_metric(run_from_layer(model, patched, layer)))
        rows.append(torch.stack(row))
    return torch.stack(rows)
