# itertools.product over all three axes, values in one flat list that is reshaped; a progress bar.
from itertools import product

import torch
from tqdm import tqdm


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    shape = (3, model.cfg.n_layers, corrupted_tokens.shape[1])
    names = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out")
    values = []
    for name, layer, pos in tqdm(list(product(names, range(shape[1]), range(shape[2])))):

        def patch(x, hook, pos=pos):
            patched = x.clone()
            patched[:, pos] = clean_cache[hook.name][:, pos]
            return patched

        logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(f"blocks.{layer}.{name}", patch)])
        values.append(patching_metric(logits))
    return torch.stack(values).view(shape)
