# One run for each component and layer, with the prompts repeated for every position.
import torch
from einops import repeat


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    n_prompts, n_positions = corrupted_tokens.shape
    tokens = repeat(corrupted_tokens, "batch pos -> (copy batch) pos", copy=n_positions)
    own_position = torch.eye(n_positions, dtype=torch.bool).repeat_interleave(n_prompts, dim=0)[..., None]

    def patch(x, hook):
        clean = repeat(clean_cache[hook.name], "batch pos d -> (copy batch) pos d", copy=n_positions)
        return torch.where(own_position, clean, x)

    def row(component, layer):
        logits = model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.hook_{component}", patch)])
        return torch.stack([patching_metric(copy) for copy in logits.chunk(n_positions)])

    components, layers = ("resid_pre", "attn_out", "mlp_out"), range(model.cfg.n_layers)
    return torch.stack([torch.stack([row(component, layer) for layer in layers]) for component in components])
