"""How a sweep is checked: its result must equal that of `transformer_lens.patching`."""

from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

from tests.checking import (
    CheckFailed,
    call_with,
    changed_tensors,
    global_hints,
    is_plain_tensor,
    require_close,
    require_tensor,
)
from tests.tiny import TinyCase, one_thread, tiny_cases
from utils import load_ioi, make_ioi_metric, model_in_use, reference_sweep


def check_sweep(function: Callable, name: str, axes: str, components: tuple[str, ...] = ()) -> None:
    """Compare a sweep with `transformer_lens.patching`'s function `name`, first on tiny models, then on the loaded one.

    The tiny models come first because they answer at once; with other prompts, lengths, numbers of prompts and
    metrics they are also what stored or hard-coded numbers fail on. `axes` names the axes of the result, and
    `components` the entries of its first axis where that is one.
    """
    check_sweep_on_tiny_models(function, name, axes, components)
    model = model_in_use()
    data = load_ioi(model)
    expected = reference_sweep(name, model, data)
    model.reset_hooks()
    _, clean_cache = model.run_with_cache(data.tokens)
    case = TinyCase(model, data.corrupted_tokens, clean_cache, make_ioi_metric(model, data))
    _compare(function, name, axes, components, case, expected, "on the 8 IOI prompts")


def check_sweep_on_tiny_models(
    function: Callable, name: str, axes: str, components: tuple[str, ...] = (), seed: int = 0
) -> None:
    """The part of `check_sweep` that needs no loaded model."""
    with one_thread():
        for case in tiny_cases(seed):
            with mock.patch.object(patching, "tqdm", wraps=list):  # no progress bars for milliseconds
                expected = getattr(patching, name)(
                    case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric
                )
            n_layers, n_heads = case.model.cfg.n_layers, case.model.cfg.n_heads
            batch, positions = case.corrupted_tokens.shape
            where = (
                f"on a random model with {n_layers} layers and {n_heads} heads, {batch} prompts of {positions} tokens"
            )
            _compare(function, name, axes, components, case, expected, where)


def _compare(
    function: Callable,
    name: str,
    axes: str,
    components: tuple[str, ...],
    case: TinyCase,
    expected: Tensor,
    where: str,
) -> None:
    result = _call_sweep(function, name, case)
    hint_at_global = "".join(global_hints(function))
    actual = require_tensor(
        result,
        tuple(expected.shape),
        expected.dtype,
        f"{name} returns [{axes}], {where}",
        hint_at_global or _shape_hint(result, expected),
    )
    expected = expected.cpu()
    unpatched = case.patching_metric(case.model(case.corrupted_tokens)).cpu()
    hint = hint_at_global or _hint(actual, expected, unpatched, axes.split()[-1], components)
    require_close(actual, expected, axes, f"{name} equals transformer_lens.patching.{name} {where}", hint)


def _call_sweep(function: Callable, name: str, case: TinyCase) -> object:
    """Call the learner's sweep, and refuse one that leaves traces or lets `transformer_lens.patching` do the work."""
    case.model.reset_hooks()
    before = {key: tensor.clone() for key, tensor in _callers_tensors(case).items()}
    # Each of patching's functions wraps its loop in the module's tqdm, whatever name the learner's code calls it by.
    with mock.patch.object(patching, "tqdm", wraps=list) as loop:
        try:
            result = call_with(
                function,
                name,
                model=case.model,
                corrupted_tokens=case.corrupted_tokens,
                clean_cache=case.clean_cache,
                patching_metric=case.patching_metric,
            )
        finally:
            hooks_left = hooks_on(case.model)
            case.model.reset_hooks()
    if loop.called:
        raise CheckFailed(
            f"{name} does its own patching",
            "runs of the model with your own hook function",
            "it called a function of transformer_lens.patching",
            "loop over the entries and call model.run_with_hooks for each",
        )
    if hooks_left:
        raise CheckFailed(
            f"{name} leaves no hook on the model",
            "no hooks",
            f"hooks at {', '.join(hooks_left[:3])}",
            "model.run_with_hooks removes its hooks by itself; model.add_hook does not",
        )
    changed = changed_tensors(_callers_tensors(case), before)
    if changed:
        raise CheckFailed(
            f"{name} leaves its arguments as they were",
            "clean cache, corrupted tokens and the model's weights unchanged",
            f"{changed[0]} was changed",
            "a hook must never write into a tensor of the clean cache, nor return one that is edited later"
            if changed[0] in case.clean_cache.cache_dict
            else "work on a copy",
        )
    return result


def _callers_tensors(case: TinyCase) -> dict[str, Tensor]:
    """What a sweep must not change; of each weight, which may be large, the sum stands for the whole."""
    weights = {key: weight.sum() for key, weight in case.model.state_dict().items()}
    return {"corrupted_tokens": case.corrupted_tokens, **case.clean_cache.cache_dict, **weights}


def hooks_on(model: TransformerBridge) -> list[str]:
    """The names of the hook points that carry a hook."""
    return [name for name, point in model.hook_dict.items() if point.fwd_hooks or point.bwd_hooks]


def _shape_hint(result: object, expected: Tensor) -> str:
    if not is_plain_tensor(result):
        return "end with `return`, and give back one torch tensor"
    if sorted(result.shape) == sorted(expected.shape) and result.shape != expected.shape:
        return "the axes are in another order"
    return (
        "one entry for each patched run, in this order of axes; layers and heads are numbered by model.cfg, positions "
        "by the corrupted tokens"
    )


def _hint(actual: Tensor, expected: Tensor, unpatched: Tensor, last_axis: str, components: tuple[str, ...]) -> str:
    """Name the usual cause that fits what came out."""
    if torch.allclose(actual, unpatched.expand_as(actual)):
        return "no patch had any effect: pass (get_act_name(...), hook function) in fwd_hooks of run_with_hooks"
    if torch.isnan(actual).any() or ((actual == 0) & (expected != 0)).any():
        return "some entries were never filled in"
    if torch.equal(actual, actual[..., :1].expand_as(actual)):
        return (
            f"every {last_axis} of a row has the same value: each run patches its own {last_axis}, and a function made "
            "in a loop sees the loop's last value unless functools.partial binds the current one"
        )
    return _component_hint(actual, expected, components) or (
        "each entry is the metric of one run of the corrupted tokens with one patch from the clean cache: "
        "look at which hook point, layer and index each run uses"
    )


def _component_hint(actual: Tensor, expected: Tensor, components: tuple[str, ...]) -> str:
    """Name the components that are not what they should be, where that says more than nothing."""
    found = {}
    for component, part in zip(components, actual if components else (), strict=True):
        fits = [torch.allclose(part, wanted, rtol=1.3e-6, atol=1e-5) for wanted in expected]
        found[component] = components[fits.index(True)] if any(fits) else None
    wrong = [component for component in found if found[component] != component]
    if wrong and all(found.values()):
        return f"the order is {', '.join(components)}, but where {wrong[0]} belongs stands {found[wrong[0]]}"
    if 0 < len(wrong) < len(components):
        return f"the {', '.join(wrong)} part differs and the rest is right: look at its activation name and hook"
    return ""
