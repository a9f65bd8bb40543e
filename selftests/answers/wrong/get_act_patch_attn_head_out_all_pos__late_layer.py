# All runs are made after the loops, and their functions see the last layer and head.
# message: that patches z of layer 1 at head 2
import torch


def get_act_patch_attn_head_out_all_pos(model, corrupted_tokens, clean_cache, patching_metric):
    def patch(z, hook):
        z[:, :, head] = clean_cache[hook.name][:, :, head]
        return z

    runs = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):  # noqa: B007
            name = f"blocks.{layer}.attn.hook_z"
            runs.append(lambda: model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, patch)]))  # noqa: B023
    results = torch.stack([patching_metric(run()) for run in runs])
    return results.reshape(model.cfg.n_layers, model.cfg.n_heads)
