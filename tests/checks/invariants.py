"""What holds of a sweep whatever its numbers are: a second opinion beside the reference, which could be wrong too."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.utilities import get_act_name

from tests.checks.checking import CheckFailed, require_close, some
from tests.checks.tiny_models import VOCABULARY, TinyCase

Sweep = Callable[[TinyCase], Float[Tensor, "..."]]


def check_invariants(sweep: Sweep, name: str, axes: str, components: tuple[str, ...], case: TinyCase) -> None:
    """Raise `CheckFailed` where the sweep contradicts what patching means.

    `components` are the activations the sweep patches. Of the sweeps over positions, the first is resid_pre.
    """
    _only_what_differs_moves(sweep, name, axes, components, case)
    if axes.endswith("pos"):
        _restores_the_clean_run(sweep, name, components, case)


def _only_what_differs_moves(sweep: Sweep, name: str, axes: str, components: tuple[str, ...], case: TinyCase) -> None:
    """Patch the corrupted run with itself, except for one slice of each component: all else has to stay."""
    _, cache = case.model.run_with_cache(case.corrupted_tokens)
    layers, indices = case.model.cfg.n_layers, _count_indices(axes, case)
    places = []
    for number, component in enumerate(components):
        # Not in the last layer, where what happens before the last position has no effect.
        layer, index = number % (layers - 1), (number + 1) % indices
        _turn_sign(cache, component, layer, axes, index)
        places.append([number, layer, index])
    actual = sweep(_with_cache(case, cache)).reshape(len(components), layers, indices)
    moved = (~_same(actual, _corrupted_metric(case))).nonzero().tolist()
    if moved != places:
        index_name = axes.split()[-1]

        def listed(entries: list[list[int]]) -> str:
            shown = [f"{components[number]} layer {layer} {index_name} {index}" for number, layer, index in entries]
            return "; ".join(shown[:6]) + ("; ..." if len(shown) > 6 else "")

        raise CheckFailed(
            f"{name} with a cache that differs from the corrupted run at {listed(places)} only",
            "the metric moves there, and where nothing differs the patch changes nothing",
            f"it moves at {listed(moved)}" if moved else "it moves nowhere",
            "each run patches one slice of one activation, that of its own entry, and nothing else",
        )


def _restores_the_clean_run(sweep: Sweep, name: str, components: tuple[str, ...], case: TinyCase) -> None:
    """Let the prompts differ at one position only: before it nothing can change, and at it resid_pre changes all."""
    position = case.corrupted_tokens.shape[1] // 2
    clean_tokens = case.corrupted_tokens.clone()
    clean_tokens[:, position] = (clean_tokens[:, position] + 1) % VOCABULARY
    clean_logits, clean_cache = case.model.run_with_cache(clean_tokens)
    clean, corrupted = case.patching_metric(clean_logits), _corrupted_metric(case)
    by_component = sweep(_with_cache(case, clean_cache)).reshape(len(components), case.model.cfg.n_layers, -1)
    checked = f"{name} where clean and corrupted prompts differ at position {position} only"

    before = by_component[:, :, :position]
    if not _same(before, corrupted).all():
        touched = [i for i in range(position) if not _same(before[:, :, i], corrupted).all()]
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


def _count_indices(axes: str, case: TinyCase) -> int:
    return case.corrupted_tokens.shape[1] if axes.endswith("pos") else case.model.cfg.n_heads


def _turn_sign(cache: ActivationCache, component: str, layer: int, axes: str, index: int) -> None:
    """Change the part of a cached activation that one entry of the sweep patches.

    In place: the cache may hold the activation under a second name, and hooks may look it up under either.
    """
    axis = 1 if axes.endswith("pos") or component == "pattern" else 2
    cache[get_act_name(component, layer)].select(axis, index).neg_()


def _with_cache(case: TinyCase, cache: ActivationCache) -> TinyCase:
    return dataclasses.replace(case, clean_cache=cache)


def _corrupted_metric(case: TinyCase) -> Float[Tensor, ""]:
    return case.patching_metric(case.model(case.corrupted_tokens))


def _same(actual: Float[Tensor, "..."], expected: Float[Tensor, ""]) -> Tensor:
    """Where the entries equal a number, by the tolerances of `torch.testing.assert_close`."""
    return torch.isclose(actual, expected.expand_as(actual), rtol=1.3e-6, atol=1e-5)
