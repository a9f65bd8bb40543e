# Finds the hook points among the model's own names, and returns a result that requires a gradient.
import torch


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
    assert set(names) <= set(model.hook_dict)
    rows = []
    for name in names:
        row = []
        for pos in range(corrupted_tokens.shape[1]):

            def patch(x, hook, pos=pos):
                x[:, pos] = clean_cache[hook.name][:, pos]

            row.append(patching_metric(model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, patch)])).item())
        rows.append(row)
    return torch.tensor(rows, requires_grad=True)
