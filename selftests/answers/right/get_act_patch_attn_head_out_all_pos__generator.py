# A generator yields the values; the arguments have other names; keyword arguments for functools.partial.
from functools import partial

import torch


def replace_head(z, hook, head_index, clean_cache):
    patched = z.detach().clone()
    patched[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return patched


def values(model, tokens, cache, metric):
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            patch = partial(replace_head, head_index=head, clean_cache=cache)
            yield metric(model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", patch)]))


def get_act_patch_attn_head_out_all_pos(bridge, tokens, cache, metric):
    return torch.stack(list(values(bridge, tokens, cache, metric))).reshape(bridge.cfg.n_layers, bridge.cfg.n_heads)
