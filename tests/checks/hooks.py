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

from tests.checks.checking import CheckFailed, call_with, changed_tensors, require_tensor, shape_hint, show, some
from tests.exercises import Exercise

LAYERS = (1, 0)
AXES = {"batch": "prompt", "head_index": "head"}
"""Names of axes in messages, where they differ from those in the shape."""
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
    """Yield every index in order, with one activation in the clean cache, so that messages are easy to understand."""
    for activation_name in activation_names:
        clean_cache = _random_cache((activation_name,), sizes, random_numbers)
        for layer, index in itertools.product(LAYERS, range(list(sizes.values())[axis])):
            corrupted = _random_tensor(sizes, random_numbers) + 2
            yield HookCase(activation_name, layer, corrupted, clean_cache, sizes, axis, index)


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
    name, (_, _, index_argument, _) = exercise.name, exercise.arguments
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
    _compare_slices(result, clean, name, index_argument, case)


def _refuse_changed_cache(name: str, clean_cache: ActivationCache, before: dict[str, Tensor]) -> None:
    if changed_tensors(clean_cache.cache_dict, before):
        raise CheckFailed(
            f"{name} leaves the clean cache as it was",
            "the clean cache unchanged",
            "the clean cache was changed",
            "write to the corrupted activation and return it, or a new tensor, never one from the clean cache",
        )


def _compare_slices(result: Tensor, clean: Tensor, name: str, index_argument: str, case: HookCase) -> None:
    axis, index = case.axis, case.index
    axes = [AXES.get(size, size) for size in case.sizes]
    axis_name = axes.pop(axis)
    checked = f"{name} with {index_argument}={index} patches {axis_name} {index} of every prompt and nothing else"

    ours, wanted, before = (tensor.select(axis, index) for tensor in (result, clean, case.corrupted))
    others = [i for i in range(result.shape[axis]) if i != index]
    touched = [i for i in others if not torch.equal(result.select(axis, i), case.corrupted.select(axis, i))]
    if not torch.equal(ours, wanted):
        state, hint = _state_of_slice(ours, wanted, before)
        if touched:
            state += f", and {axis_name} {some(touched)} changed"
            hint = f"the {axis_name} axis is axis {axis}: write to index {index_argument} of that axis only"
        expected, actual = show(ours, wanted, ours != wanted, " ".join(axes))
        raise CheckFailed(
            checked,
            f"in {axis_name} {index} the clean values: {expected}",
            f"{axis_name} {index} {state}; in {axis_name} {index}: {actual}",
            hint,
        )
    if touched:
        raise CheckFailed(
            checked,
            f"every other {axis_name} as in the corrupted run",
            f"{axis_name} {some(touched)} changed too",
            f"index the {axis_name} axis (axis {axis}) with {index_argument} on both sides",
        )


def _state_of_slice(ours: Tensor, wanted: Tensor, before: Tensor) -> tuple[str, str]:
    """Return the state of the slice that should have the clean values, and a hint."""
    is_clean, is_corrupted = ours == wanted, ours == before
    prompts = [i for i in range(len(ours)) if is_clean[i].all()]
    if is_corrupted.all():
        return (
            "was not changed",
            "write the clean values to the activation, or to a new tensor, and return that",
        )
    if prompts:
        return (
            f"has the clean values in prompt {some(prompts)} only",
            "patch every prompt, each with its own clean values",
        )
    if is_clean.any() and (is_clean | is_corrupted).all():
        return "has clean values in some places only", "take all of the other axes, with `:`"
    return (
        "was changed, but not to the clean values",
        "the clean values are those of clean_cache[hook.name], read at the same index",
    )
