# Takes *args and **kwargs and binds them itself; prints how far it is.
import inspect

import torch


def sweep(model, corrupted_tokens, clean_cache, patching_metric):
    table = torch.zeros(model.cfg.n_layers, model.cfg.n_heads)
    for layer in range(model.cfg.n_layers):
        print("layer", layer)
        for head in range(model.cfg.n_heads):
            clean = clean_cache["z", layer].select(2, head)
            patch = lambda z, hook, clean=clean, head=head: z.select_scatter(clean, 2, head)  # noqa: E731
            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", patch)])
            table[layer, head] = patching_metric(logits)
    return table


def get_act_patch_attn_head_out_all_pos(*args, **kwargs):
    return sweep(**inspect.signature(sweep).bind(*args, **kwargs).arguments)
