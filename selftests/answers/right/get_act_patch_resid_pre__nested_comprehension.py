# One nested list comprehension, stacked twice.
import torch


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    def run(layer, pos):
        name = f"blocks.{layer}.hook_resid_pre"
        clean = clean_cache[name][:, pos]
        hook = lambda x, hook: x.select_scatter(clean, 1, pos)  # noqa: E731
        return patching_metric(model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, hook)]))

    positions = range(corrupted_tokens.shape[1])
    return torch.stack([torch.stack([run(layer, pos) for pos in positions]) for layer in range(model.cfg.n_layers)])
