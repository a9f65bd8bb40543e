"""Cells of a fictional student who makes one mistake in each of several functions; demo_class.py has the points.

Every part below a line `# %%` replaces the cell with that grade id; all other cells are correct.
"""

# mypy: ignore-errors

# %% ioi_metric


def ioi_metric(
    logits: Float[Tensor, "batch pos d_vocab"],
    answer_tokens: Int[Tensor, "batch 2"] = answer_tokens,
    corrupted_logit_diff: float = corrupted_logit_diff,
    clean_logit_diff: float = clean_logit_diff,
) -> Float[Tensor, ""]:
    """How far the logits lie between the corrupted run (0) and the clean run (1)."""
    logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)
    # The mistake: .item() converts the tensor to a Python number.
    return ((logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)).item()


# %% patch_residual_component


def patch_residual_component(
    corrupted_residual_component: Float[Tensor, "batch pos d_model"],
    hook: HookPoint,
    pos: int,
    clean_cache: ActivationCache,
) -> Float[Tensor, "batch pos d_model"]:
    """Replace the activation at position `pos` by its value in the clean run."""
    # The mistake: no return. The in-place edit takes effect anyway, so the sweep is correct.
    corrupted_residual_component[:, pos, :] = clean_cache[hook.name][:, pos, :]


# %% get_act_patch_block_every


def get_act_patch_block_every(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, ""]],
) -> Float[Tensor, "3 layer pos"]:
    """Patch resid_pre, attn_out and mlp_out at every layer and position, one at a time."""
    # The mistake: the last two are swapped.
    components = ["resid_pre", "mlp_out", "attn_out"]
    results = torch.zeros(len(components), model.cfg.n_layers, corrupted_tokens.shape[-1])
    for i, component in enumerate(components):
        for layer in range(model.cfg.n_layers):
            for pos in range(corrupted_tokens.shape[-1]):
                patch = partial(patch_residual_component, pos=pos, clean_cache=clean_cache)
                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), patch)])
                results[i, layer, pos] = patching_metric(logits)
    return results


# %% get_act_patch_attn_head_out_all_pos


def get_act_patch_attn_head_out_all_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, ""]],
) -> Float[Tensor, "layer head"]:
    """Patch the output of every head at all positions, one head at a time, and return the metric of each run."""
    # The mistake: heads by layers. With 12 of each the shape looks correct; the check tries other numbers.
    results = torch.zeros(model.cfg.n_heads, model.cfg.n_layers)
    for layer in range(model.cfg.n_layers):
        for head_index in range(model.cfg.n_heads):
            patch = partial(patch_head_vector, head_index=head_index, clean_cache=clean_cache)
            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name("z", layer), patch)])
            results[head_index, layer] = patching_metric(logits)
    return results


# %% get_act_patch_attn_head_all_pos_every


def patch_head_vector(
    corrupted_head_vector: Float[Tensor, "batch pos head_index d_head"],
    hook: HookPoint,
    head_index: int,
    clean_cache: ActivationCache,
) -> Float[Tensor, "batch pos head_index d_head"]:
    """Replace one head's vectors, at every position, by their values in the clean run."""
    corrupted_head_vector[:, :, head_index] = clean_cache[hook.name][:, :, head_index]
    return corrupted_head_vector


def get_act_patch_attn_head_all_pos_every(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, ""]],
) -> Float[Tensor, "5 layer head"]:
    """Patch z, q, k, v and pattern of every head at all positions, one at a time."""
    components = ["z", "q", "k", "v", "pattern"]
    results = torch.zeros(len(components), model.cfg.n_layers, model.cfg.n_heads)
    for i, component in enumerate(components):
        for layer in range(model.cfg.n_layers):
            for head_index in range(model.cfg.n_heads):
                # The mistake: patterns have other axes and need patch_attn_patterns.
                patch = partial(patch_head_vector, head_index=head_index, clean_cache=clean_cache)
                logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(get_act_name(component, layer), patch)])
                results[i, layer, head_index] = patching_metric(logits)
    return results


# %% my_circuit


my_circuit: dict[str, list[tuple[int, int]]] = {
    "duplicate token": [(3, 0)],
    # Not searched for: patching does not show these heads.
    "previous token": [],
    "induction": [(5, 5), (6, 9)],
    "s-inhibition": [(7, 3), (7, 9), (8, 6), (8, 10)],
    # The mistake: 10.7 attends to IO as a name mover does, but writes against it.
    "name mover": [(9, 6), (9, 9), (10, 7)],
    "backup name mover": [],
    "negative name mover": [(10, 7), (11, 10)],
}
