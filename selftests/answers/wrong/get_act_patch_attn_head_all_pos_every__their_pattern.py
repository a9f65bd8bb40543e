# Four components of its own, and the patterns by transformer_lens.patching.
# message: it called a function of transformer_lens.patching
import torch
from transformer_lens.patching import get_act_patch_attn_head_pattern_all_pos as patterns


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(4, model.cfg.n_layers, model.cfg.n_heads)
    for i, component in enumerate("zqkv"):
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):

                def patch(x, hook, head=head):
                    x[:, :, head] = clean_cache[hook.name][:, :, head]
                    return x

                name = f"blocks.{layer}.attn.hook_{component}"
                results[i, layer, head] = patching_metric(
                    model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, patch)])
                )
    theirs = patterns(model, corrupted_tokens, clean_cache, patching_metric)
    return torch.cat([results, theirs[None]])
