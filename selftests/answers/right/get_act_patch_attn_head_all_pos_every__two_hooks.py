# Two hook functions, chosen by the activation's name.
import torch
from transformer_lens.utilities import get_act_name


def patch_head_vector(x, hook, head_index, clean_cache):
    x[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return x


def patch_attn_patterns(x, hook, head_index, clean_cache):
    x[:, head_index] = clean_cache[hook.name][:, head_index]
    return x


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    model.reset_hooks()
    results = torch.zeros(5, model.cfg.n_layers, model.cfg.n_heads, device=corrupted_tokens.device)
    for i, component in enumerate(("z", "q", "k", "v", "pattern")):
        patch = patch_attn_patterns if component == "pattern" else patch_head_vector
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):
                logits = model.run_with_hooks(
                    corrupted_tokens,
                    fwd_hooks=[
                        (get_act_name(component, layer), lambda x, hook, h=head, p=patch: p(x, hook, h, clean_cache))
                    ],
                )
                results[i, layer, head] = patching_metric(logits)
    return results
