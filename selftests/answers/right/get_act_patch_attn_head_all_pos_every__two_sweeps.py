# Four tables of head vectors and one of patterns, concatenated; no gradients; a progress bar.
import torch
from tqdm.auto import tqdm


def patch_head_vector(x, hook, head_index, clean_cache):
    x[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return x


def patch_attn_patterns(x, hook, head_index, clean_cache):
    x[:, head_index] = clean_cache[hook.name][:, head_index]
    return x


@torch.no_grad()
def sweep(model, tokens, cache, metric, component, patch):
    table = torch.zeros(1, model.cfg.n_layers, model.cfg.n_heads)
    for layer in tqdm(range(model.cfg.n_layers), desc=component):
        for head in range(model.cfg.n_heads):
            hook = (f"blocks.{layer}.attn.hook_{component}", lambda x, hook, h=head: patch(x, hook, h, cache))
            table[0, layer, head] = metric(model.run_with_hooks(tokens, fwd_hooks=[hook]))
    return table


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    arguments = (model, corrupted_tokens, clean_cache, patching_metric)
    vectors = [sweep(*arguments, component, patch_head_vector) for component in "zqkv"]
    return torch.cat([*vectors, sweep(*arguments, "pattern", patch_attn_patterns)])
