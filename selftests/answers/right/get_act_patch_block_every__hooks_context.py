# `with model.hooks(...)` under inference mode; tables in a dictionary by component, concatenated.
import torch


@torch.inference_mode()
def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    tables = {}
    for component in ("resid_pre", "attn_out", "mlp_out"):
        tables[component] = torch.empty(1, model.cfg.n_layers, corrupted_tokens.shape[1])
        for layer in range(model.cfg.n_layers):
            for pos in range(corrupted_tokens.shape[1]):

                def patch(x, hook, pos=pos):
                    x[:, pos] = clean_cache[hook.name][:, pos]
                    return x

                with model.hooks(fwd_hooks=[(f"blocks.{layer}.hook_{component}", patch)]):
                    tables[component][0, layer, pos] = patching_metric(model(corrupted_tokens))
    return torch.cat(list(tables.values()))
