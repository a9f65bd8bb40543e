"""What holds of a sweep whatever its numbers are: a second opinion beside the reference, which could be wrong too."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.utilities import get_act_name

from tests.checks.cases import VOCABULARY, SweepCase
from tests.checks.checking import CheckFailed, require_close, some
from utils.references import TOLERANCE
from utils.sweep_specs import SweepSpec

Sweep = Callable[[SweepCase], Float[Tensor, "..."]]


def check_invariants(sweep: Sweep, spec: SweepSpec, case: SweepCase) -> None:
    """Raise `CheckFailed` where the sweep contradicts what patching means.

    Of the sweeps over positions, the first component must be resid_pre.
    """
    _only_differences_move_the_metric(sweep, spec, case)
    if spec.by_position:
        _restores_the_clean_run(sweep, spec, case)


def _only_differences_move_the_metric(sweep: Sweep, spec: SweepSpec, case: SweepCase) -> None:
    """Patch the corrupted run with itself, except for one slice of each component: all other entries must not move."""
    _, cache = case.model.run_with_cache(case.corrupted_tokens)
    layers = case.model.cfg.n_layers
    indices = case.corrupted_tokens.shape[1] if spec.by_position else case.model.cfg.n_heads
    changed = []
    for number, component in enumerate(spec.components):
        # Not in the last layer, where what happens before the last position has no effect.
        layer, index = number % (layers - 1), (number + 1) % indices
        _flip_sign(cache, spec, component, layer, index)
        changed.append([number, layer, index])
    actual = sweep(_with_cache(case, cache)).reshape(len(spec.components), layers, indices)
    moved = (~_equal(actual, _corrupted_metric(case))).nonzero().tolist()
    if moved != changed:
        raise CheckFailed(
            f"{spec.name} with a cache that differs from the corrupted run at {_named(changed, spec)} only",
            "the metric moves there, and where nothing differs the patch changes nothing",
            f"it moves at {_named(moved, spec)}" if moved else "it moves nowhere",
            "each run patches one slice of one activation, that of its own entry, and nothing else",
        )


def _named(entries: list[list[int]], spec: SweepSpec) -> str:
    """Name the first entries of a list of (component, layer, index)."""
    names = [f"{spec.components[number]} layer {layer} {spec.last_axis} {index}" for number, layer, index in entries]
    return "; ".join(names[:6]) + ("; ..." if len(names) > 6 else "")


def _restores_the_clean_run(sweep: Sweep, spec: SweepSpec, case: SweepCase) -> None:
    """Let the prompts differ at one position only: before it nothing can change, and at it resid_pre changes all."""
    position = case.corrupted_tokens.shape[1] // 2
    clean_tokens = case.corrupted_tokens.clone()
    clean_tokens[:, position] = (clean_tokens[:, position] + 1) % VOCABULARY
    clean_logits, clean_cache = case.model.run_with_cache(clean_tokens)
    clean, corrupted = case.patching_metric(clean_logits), _corrupted_metric(case)
    actual = sweep(_with_cache(case, clean_cache))
    by_component = actual.reshape(len(spec.components), case.model.cfg.n_layers, -1)
    checked = f"{spec.name} where clean and corrupted prompts differ at position {position} only"

    before = by_component[:, :, :position]
    if not _equal(before, corrupted).all():
        touched = [i for i in range(position) if not _equal(before[:, :, i], corrupted).all()]
        raise CheckFailed(
            f"{checked}, before that position",
            f"the metric of the corrupted run, {corrupted.item():.4f}",
            f"another metric at position {some(touched)}",
            "no activation before that position depends on it, so a patch there changes nothing",
        )
    expected = corrupted.repeat(by_component.shape[2])
    expected[position] = clean
    require_close(
        by_component[0, 0],
        expected,
        "pos",
        f"{checked}, patching resid_pre of layer 0",
        f"a patch at position {position} makes the run the clean one, and a patch elsewhere changes nothing",
    )


def _flip_sign(cache: ActivationCache, spec: SweepSpec, component: str, layer: int, index: int) -> None:
    """Change the part of a cached activation that one entry of the sweep patches.

    In place: the cache may hold the activation under a second name, and hooks may look it up under either.
    """
    axis = 1 if spec.by_position or component == "pattern" else 2
    cache[get_act_name(component, layer)].select(axis, index).neg_()


def _with_cache(case: SweepCase, cache: ActivationCache) -> SweepCase:
    return dataclasses.replace(case, clean_cache=cache)


def _corrupted_metric(case: SweepCase) -> Float[Tensor, ""]:
    return case.patching_metric(case.model(case.corrupted_tokens))


def _equal(actual: Float[Tensor, "*axes"], expected: Float[Tensor, ""]) -> Bool[Tensor, "*axes"]:
    """Where the entries equal a number, within `TOLERANCE`."""
    return torch.isclose(actual, expected.expand_as(actual), **TOLERANCE)
