# A tuple of slices picks the head, by the hook point's name, which is written out; torch.tensor of nested lists.
import torch


def get_act_patch_attn_head_all_pos_every(model, corrupted_tokens, clean_cache, patching_metric):
    def run(name, head):
        index = (slice(None), head) if name.endswith("pattern") else (slice(None), slice(None), head)

        def patch(activation, hook):
            activation[index] = clean_cache[name][index]
            return activation

        return patching_metric(model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, patch)]))

    layers, heads = range(model.cfg.n_layers), range(model.cfg.n_heads)
    endings = ("hook_z", "hook_q", "hook_k", "hook_v", "hook_pattern")
    names = [[f"blocks.{layer}.attn.{ending}" for layer in layers] for ending in endings]
    return torch.tensor([[[run(name, head) for head in heads] for name in row] for row in names])
