"""How a hook function is checked: it must patch exactly one slice of an activation, and nothing else."""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.utilities import get_act_name

from tests.checking import CheckFailed, begins, call_with, changed_tensors, require_tensor, some

LAYERS = (1, 0)


def check_hook(
    function: Callable,
    name: str,
    activation_names: tuple[str, ...],
    sizes: dict[str, int],
    index_argument: str,
    axis: int,
) -> None:
    """Try a hook function on small random tensors, for two layers and every index.

    `sizes` maps the activation's axes, in order, to numbers that all differ, so that a swapped axis cannot pass by
    luck. The slice to patch is the index `index_argument` on axis number `axis`.
    """
    _require_hook_arguments(function, name)
    first_argument = {
        "patch_residual_component": "corrupted_residual_component",
        "patch_head_vector": "corrupted_head_vector",
        "patch_attn_patterns": "corrupted_pattern",
    }[name]
    for activation_name in activation_names:
        clean_cache = _random_cache(activation_name, tuple(sizes.values()))
        for layer in LAYERS:
            for index in range(list(sizes.values())[axis]):
                corrupted = torch.rand(*sizes.values()) + 2
                arguments = {
                    first_argument: corrupted.clone(),
                    "hook": _hook_point(activation_name, layer),
                    index_argument: index,
                    "clean_cache": clean_cache,
                }
                _check_one_patch(function, name, arguments, corrupted, list(sizes), axis)


def _require_hook_arguments(function: Callable, name: str) -> None:
    """Refuse what transformer_lens cannot call: it gives the activation by position and the hook point by name."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin function has none
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


def _random_cache(activation_name: str, shape: tuple[int, ...]) -> ActivationCache:
    """A clean cache with one activation of two layers; its values never coincide with the corrupted ones."""
    return ActivationCache({get_act_name(activation_name, layer): torch.rand(*shape) for layer in LAYERS}, model=None)


def _hook_point(activation_name: str, layer: int) -> HookPoint:
    hook = HookPoint()
    hook.name = get_act_name(activation_name, layer)
    return hook


def _check_one_patch(
    function: Callable, name: str, arguments: dict, corrupted: Tensor, axes: list[str], axis: int
) -> None:
    index_argument, index = list(arguments.items())[2]
    clean_cache = arguments["clean_cache"]
    clean_before = {key: tensor.clone() for key, tensor in clean_cache.items()}
    result = call_with(function, name, **arguments)
    _refuse_changed_cache(name, clean_cache, clean_before)
    # The cached tensor itself, or a view of it, cannot pass what follows: its other slices are clean ones.
    result = require_tensor(
        result,
        tuple(corrupted.shape),
        corrupted.dtype,
        f"{name} returns the whole activation, [{' '.join(axes)}]",
        "end with `return`, and give back the activation with one slice replaced, not the slice alone",
    )
    clean = clean_before[arguments["hook"].name]
    _compare_slices(result, corrupted, clean, name, f"{index_argument}={index}", axes[axis], axis, index)


def _refuse_changed_cache(name: str, clean_cache: ActivationCache, before: dict[str, Tensor]) -> None:
    if changed_tensors(clean_cache.cache_dict, before):
        raise CheckFailed(
            f"{name} leaves the clean cache as it was",
            "the clean cache unchanged",
            "the clean cache was changed",
            "write into the corrupted activation, and return that or a new tensor, never one from the clean cache",
        )


def _compare_slices(
    result: Tensor, corrupted: Tensor, clean: Tensor, name: str, asked: str, axis_name: str, axis: int, index: int
) -> None:
    def equal_slices(other: Tensor) -> list[bool]:
        return [torch.equal(a, b) for a, b in zip(result.unbind(axis), other.unbind(axis), strict=True)]

    is_clean, is_corrupted = equal_slices(clean), equal_slices(corrupted)
    touched = [i for i, same in enumerate(is_corrupted) if not same and i != index]
    checked = f"{name} with {asked} patches {axis_name} {index} of every prompt and nothing else"
    if not is_clean[index]:
        ours, wanted = result.select(axis, index), clean.select(axis, index)
        state = "was not changed" if is_corrupted[index] else _wrong_values(ours, wanted)
        patched = [i for i, same in enumerate(is_clean) if same]
        others = f"; clean values stand at {axis_name} {some(patched)}" if patched else ""
        raise CheckFailed(
            checked,
            f"the clean values at {axis_name} {index}: {begins(wanted)}",
            f"{axis_name} {index} {state}: {begins(ours)}{others}",
            f"the {axis_name} axis is axis {axis} of the activation, for every prompt of the batch; the clean values "
            "are those of clean_cache[hook.name]",
        )
    if touched:
        raise CheckFailed(
            checked,
            f"every other {axis_name} as in the corrupted run",
            f"{axis_name} {some(touched)} changed too",
            f"index the {axis_name} axis (axis {axis}) with {asked.split('=')[0]} on both sides",
        )


def _wrong_values(ours: Tensor, wanted: Tensor) -> str:
    prompts = [prompt for prompt in range(len(wanted)) if torch.equal(ours[prompt], wanted[prompt])]
    return f"has the clean values in prompt {some(prompts)} only" if prompts else "was changed, but not to clean values"
