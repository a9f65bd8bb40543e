"""Checks of hook functions: a hook must patch exactly one slice of an activation."""

import inspect
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.utilities import get_act_name

from tests.checks.causes import places, values_written
from tests.checks.checking import (
    CheckFailed,
    call_with,
    changed_tensors,
    global_hints,
    require_tensor,
    shape_hint,
    show,
)
from tests.exercises import Exercise

LAYERS = (1, 0)
AXES = {"batch": "prompt", "head_index": "head"}
"""Names of axes in messages, where they differ from those in the shape."""
UNCHANGED = "the activation is returned unchanged: write the clean values to it, or to a new tensor, and return that"
GROWTH = 4
SIZES = {"batch": 2, "head_index": 3, "pos": 5, "pos_q": 5, "pos_k": 7, "d_head": 7, "d_model": 7}
"""The sizes of an activation's axes: no two alike in one activation, so that a swapped axis cannot pass by luck."""


@dataclass(frozen=True)
class HookCase:
    """One call of a hook function: the activation it receives, and the index on axis `axis` that it must patch."""

    activation_name: str
    layer: int
    corrupted: Tensor
    clean_cache: ActivationCache
    sizes: dict[str, int]
    axis: int
    index: int


def check_hook(function: Callable, exercise: Exercise) -> None:
    """Check a hook function on small random tensors, for two layers and every index. Raises `CheckFailed`."""
    _require_hook_arguments(function, exercise.name)
    _, _, index_argument, _ = exercise.arguments
    sizes = {axis: SIZES[axis] for axis in exercise.axes.split()}
    axis = list(sizes).index(index_argument)
    random_numbers = torch.Generator().manual_seed(0)
    for case in (
        *_in_order(exercise.activations, sizes, axis, random_numbers),
        *_shuffled(exercise.activations, sizes, axis, random_numbers),
    ):
        _check_one_patch(function, exercise, case)


def _in_order(
    activation_names: tuple[str, ...], sizes: dict[str, int], axis: int, random_numbers: torch.Generator
) -> Iterator[HookCase]:
    """Yield every index, with one activation in the clean cache, so that messages are easy to understand."""
    for activation_name in activation_names:
        clean_cache = _random_cache((activation_name,), sizes, random_numbers)
        for layer, index in itertools.product(LAYERS, _from_the_middle(list(sizes.values())[axis])):
            corrupted = _random_tensor(sizes, random_numbers) + 2
            yield HookCase(activation_name, layer, corrupted, clean_cache, sizes, axis, index)


def _from_the_middle(count: int) -> list[int]:
    """Return all indices, those that show most first: a patch of all positions before the asked one is none at 0."""
    return sorted(range(count), key=lambda index: abs(index - count // 2))


def _shuffled(
    activation_names: tuple[str, ...], sizes: dict[str, int], axis: int, random_numbers: torch.Generator
) -> Iterator[HookCase]:
    """Yield all cases in random order, with longer axes and one cache, so that a hook that counts its calls fails."""
    sizes = {name: size + GROWTH for name, size in sizes.items()}
    clean_cache = _random_cache(activation_names, sizes, random_numbers)
    calls = list(itertools.product(activation_names, LAYERS, range(list(sizes.values())[axis])))
    random.Random(0).shuffle(calls)
    for activation_name, layer, index in calls:
        corrupted = _random_tensor(sizes, random_numbers) + 2
        yield HookCase(activation_name, layer, corrupted, clean_cache, sizes, axis, index)


def _require_hook_arguments(function: Callable, name: str) -> None:
    """Raise `CheckFailed` unless transformer_lens can call the hook: activation by position, hook point by name."""
    try:
        signature = inspect.signature(function)
    except Exception:  # a builtin has no signature, and a learner's object may raise anything
        return
    try:
        signature.bind_partial(None, hook=None)
    except TypeError:
        raise CheckFailed(
            f"{name} can be called as transformer_lens calls a hook",
            "function(activation, hook=...)",
            f"{name}{signature}",
            "keep the activation as the first argument and `hook` as the name of the second",
        ) from None


def _random_cache(
    activation_names: tuple[str, ...], sizes: dict[str, int], random_numbers: torch.Generator
) -> ActivationCache:
    """Return a clean cache with activations of two layers, whose values, below 1, differ from all corrupted ones."""
    names = [get_act_name(name, layer) for name in activation_names for layer in LAYERS]
    return ActivationCache({name: _random_tensor(sizes, random_numbers) for name in names}, model=None)


def _random_tensor(sizes: dict[str, int], random_numbers: torch.Generator) -> Tensor:
    # On the CPU, like the generator, even if the default device is another.
    return torch.rand(*sizes.values(), generator=random_numbers, dtype=torch.float32, device="cpu")


def _hook_point(activation_name: str, layer: int) -> HookPoint:
    hook = HookPoint()
    hook.name = get_act_name(activation_name, layer)
    return hook


def _check_one_patch(function: Callable, exercise: Exercise, case: HookCase) -> None:
    name = exercise.name
    clean_before = {key: tensor.clone() for key, tensor in case.clean_cache.items()}
    hook = _hook_point(case.activation_name, case.layer)
    clean = clean_before[hook.name]
    values = (case.corrupted.clone(), hook, case.index, case.clean_cache)
    result = call_with(function, name, **dict(zip(exercise.arguments, values, strict=True)))
    _refuse_changed_cache(name, case.clean_cache, clean_before)
    axes = " ".join(case.sizes)
    # Returning the cached tensor, or a view of it, cannot pass: its other slices are clean too.
    result = require_tensor(
        result,
        tuple(case.corrupted.shape),
        case.corrupted.dtype,
        f"{name} returns the whole activation, [{axes}]",
        shape_hint(result, case.corrupted.shape, axes) or "return the whole activation, not only the slice",
    )
    _compare_slices(result, clean, function, exercise, case)


def _refuse_changed_cache(name: str, clean_cache: ActivationCache, before: dict[str, Tensor]) -> None:
    if changed_tensors(clean_cache.cache_dict, before):
        raise CheckFailed(
            f"{name} leaves the clean cache as it was",
            "the clean cache unchanged",
            "the clean cache was changed",
            "the function wrote into it: write to the corrupted activation, or to a new tensor, and return that",
        )


def _compare_slices(result: Tensor, clean: Tensor, function: Callable, exercise: Exercise, case: HookCase) -> None:
    axis, index, index_argument = case.axis, case.index, exercise.arguments[2]
    axes = [AXES.get(size, size) for size in case.sizes]
    axis_name, others = axes[axis], " ".join([*axes[:axis], *axes[axis + 1 :]])
    checked = (
        f"{exercise.name} with {index_argument}={index} patches {axis_name} {index} of every prompt and nothing else"
    )
    ours, wanted, before = (tensor.select(axis, index) for tensor in (result, clean, case.corrupted))
    changed = result != case.corrupted
    touched = places(changed, axes, axis_name)
    if not torch.equal(ours, wanted):
        expected, actual = show(ours, wanted, ours != wanted, others)
        cause = _cause(touched, ours, wanted, before, case, axes) if changed.any() else UNCHANGED
        raise CheckFailed(
            checked,
            f"in {axis_name} {index} the clean values: {expected}",
            f"changed: {touched if changed.any() else 'nothing'}; in {axis_name} {index}: {actual}",
            "; ".join([*global_hints(function), cause]),
        )
    if touched != f"{axis_name} {index}":
        raise CheckFailed(
            checked,
            f"every other {axis_name} as in the corrupted run",
            f"changed: {touched}",
            f"it changes {touched}: index axis {axis} with {index_argument}, on both sides",
        )


def _cause(touched: str, ours: Tensor, wanted: Tensor, before: Tensor, case: HookCase, axes: list[str]) -> str:
    """Say what was done in place of writing the clean values to the slice."""
    axis_name, slice_name = axes[case.axis], f"{axes[case.axis]} {case.index}"
    if ((ours == wanted) | (ours == before)).all():
        if touched.startswith(f"{slice_name}, in "):
            return f"it changes {touched}: take the other axes whole, with `:`"
        if touched != slice_name:
            axis = f": the {axis_name} axis is axis {case.axis}" if touched.startswith("every") else ""
            return f"it changes {touched}, not {slice_name}{axis}"
    written = values_written(ours, before, wanted, _other_clean_values(case, axis_name))
    return f"it writes {written}: the clean values are those of clean_cache[hook.name], read at the same index"


def _other_clean_values(case: HookCase, axis_name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the values at every index of every activation in the clean cache, all of which have the same size."""
    for name, activation in case.clean_cache.items():
        for index in range(activation.shape[case.axis]):
            if name == get_act_name(case.activation_name, case.layer) and index == case.index:
                continue  # the right values, which were not written
            yield f"{name} at {axis_name} {index}", activation.select(case.axis, index)
