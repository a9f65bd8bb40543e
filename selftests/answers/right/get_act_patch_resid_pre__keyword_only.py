# Keyword-only arguments, inference mode, add_hook with a reset after each run.
import itertools

import torch


@torch.inference_mode()
def get_act_patch_resid_pre(*, model, corrupted_tokens, clean_cache, patching_metric):
    layers, positions = model.cfg.n_layers, len(corrupted_tokens[0])
    results = torch.empty(layers, positions)
    for layer, pos in itertools.product(range(layers), range(positions)):
        clean = clean_cache["resid_pre", layer]
        model.add_hook(
            f"blocks.{layer}.hook_resid_pre",
            lambda x, hook, clean=clean, pos=pos: torch.cat([x[:, :pos], clean[:, [pos]], x[:, pos + 1 :]], dim=1),
        )
        results[layer, pos] = patching_metric(model(corrupted_tokens))
        model.reset_hooks()
    return results
