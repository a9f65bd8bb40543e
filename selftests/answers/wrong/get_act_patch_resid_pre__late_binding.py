# Functions made in a loop are called after it, and all see the last position.
# message: that patches resid_pre of layer 0 at pos 5
import torch


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    rows = []
    for layer in range(model.cfg.n_layers):
        name, hooks = f"blocks.{layer}.hook_resid_pre", []
        for pos in range(corrupted_tokens.shape[1]):

            def hook_fn(x, hook):
                x[:, pos] = clean_cache[hook.name][:, pos]  # noqa: B023
                return x

            hooks.append(hook_fn)
        runs = [model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, hook_fn)]) for hook_fn in hooks]
        rows.append(torch.stack([patching_metric(logits) for logits in runs]))
    return torch.stack(rows)
