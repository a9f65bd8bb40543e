# A hook function made by a function that takes layer and head.
import torch


def make_hook(clean, head):
    def hook_fn(z, hook):
        z[:, :, head] = clean[:, :, head]
        return z

    return hook_fn


def get_act_patch_attn_head_out_all_pos(model, corrupted_tokens, clean_cache, patching_metric):
    def one_run(layer, head):
        hook_fn = make_hook(clean_cache["z", layer], head)
        return patching_metric(
            model.run_with_hooks(corrupted_tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", hook_fn)])
        ).item()

    return torch.tensor(
        [[one_run(layer, head) for head in range(model.cfg.n_heads)] for layer in range(model.cfg.n_layers)]
    )
