"""How a sweep is checked: its result must equal that of `transformer_lens.patching`."""

import contextlib
import dataclasses
from collections.abc import Callable
from functools import partial
from unittest import mock
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

from tests.checks.cases import VOCABULARY, SweepCase, loaded_case, one_thread, tiny_cases
from tests.checks.causes import cause_of
from tests.checks.checking import (
    CheckFailed,
    call_with,
    changed_tensors,
    global_hints,
    is_plain_tensor,
    require_close,
    require_tensor,
    shape_hint,
)
from tests.checks.guards import familiar_name, fingerprints, hooks_left, modes_and_forwards_restored
from tests.checks.invariants import check_invariants
from tests.checks.reference_hooks import check_apart_from_hooks
from tests.checks.runs import record
from utils.ioi import IOIData, load_ioi
from utils.memoized_forward import SuffixCache, memoized_forward
from utils.models import model_in_use, n_key_value_heads
from utils.references import TOLERANCE, cached_suffixes, reference_sweep
from utils.sweep_specs import ATTENDED_TO, SWEEPS, SweepSpec

_results: WeakKeyDictionary[TransformerBridge, dict[str, tuple[Callable, Tensor]]] = WeakKeyDictionary()
"""For `result_of`: by model and sweep, the function that was checked last and its result."""

SHOW = "\n            tests.show_difference({}) draws your map, the reference and the difference"
ENTRIES_HINT = (
    "one entry for each patched run, in this order of axes; layers and heads are numbered by model.cfg, positions by "
    "the corrupted tokens"
)


def check_sweep(function: Callable, spec: SweepSpec) -> None:
    """Compare a sweep with its reference, `transformer_lens.patching`'s, on tiny models, then on the loaded one.

    The tiny models come first because they take milliseconds; with other prompts, lengths, numbers of prompts and
    metrics, they also refuse stored and hard-coded numbers. The learner's hooks are checked apart.
    """
    if spec.name in SWEEPS:
        check_apart_from_hooks(partial(_check_sweep, spec=spec), function, spec)
    else:
        _check_sweep(function, spec)


def _check_sweep(function: Callable, spec: SweepSpec) -> None:
    _check_on_tiny_models(function, spec)
    model = model_in_use()
    model.reset_hooks(including_permanent=True)  # those of an earlier exercise
    data = load_ioi(model)
    if why := why_not_on_the_loaded_model(spec, model, data):
        print(f"{spec.name} was compared on random models only, because {why}.")
        return
    expected = reference_sweep(_name_of_reference(spec), model, data)
    suffix_cache = cached_suffixes(_name_of_reference(spec), model, data)
    # A fast sweep calls the metric less often than its result has entries.
    total = expected.numel() if spec.name in SWEEPS else None
    with loaded_case(model, data, total, suffix_cache) as case:
        _compare(function, spec, case, expected)


def why_not_on_the_loaded_model(spec: SweepSpec, model: TransformerBridge, data: IOIData) -> str:
    """Return why a right answer may fail on this model, as half a sentence; empty if none does."""
    shared = n_key_value_heads(model)
    if set(ATTENDED_TO) & set(spec.components) and shared < model.cfg.n_heads:
        return f"the loaded one has {shared} heads of keys and values for its {model.cfg.n_heads} heads of queries"
    if spec.name not in SWEEPS and not _is_its_blocks(model, data):
        return "the loaded one computes more than its blocks, ln_final and unembed, called one after the other"
    return ""


def _is_its_blocks(model: TransformerBridge, data: IOIData) -> bool:
    """Return whether the blocks, called alone, then ln_final and unembed, give the model's logits."""
    logits, cache = model.run_with_cache(data.corrupted_tokens)
    residual = cache["resid_pre", 0]
    with contextlib.suppress(Exception):  # some blocks need arguments of their own
        for block in model.blocks:
            residual = block(residual)[0]
        return torch.allclose(model.unembed(model.ln_final(residual)), logits, rtol=1e-4, atol=1e-4)
    return False


def result_of(function: Callable) -> Tensor:
    """Return the result of a learner's sweep on the loaded model and the 8 IOI prompts: `tests.result_of(your_sweep)`.

    It is the one that the check of the sweep computed; where the check has not run, the sweep is run.
    """
    model = model_in_use()
    for checked, result in _results.get(model, {}).values():
        # The check of a fast sweep wraps the learner's function, to count what it computes.
        if checked is function or getattr(checked, "__wrapped__", None) is function:
            return result.clone()
    with loaded_case(model, load_ioi(model)) as case:
        return function(**case.arguments)


def check_sweep_on_tiny_models(function: Callable, spec: SweepSpec, seed: int = 0) -> None:
    """Run the part of `check_sweep` that needs no loaded model."""
    check_apart_from_hooks(partial(_check_on_tiny_models, spec=spec, seed=seed), function, spec)


def _check_on_tiny_models(function: Callable, spec: SweepSpec, seed: int = 0) -> None:
    """Compare a sweep with its reference on tiny models, and check what holds whatever the reference is."""
    with one_thread():
        for tiny_case in tiny_cases(seed):
            case = dataclasses.replace(tiny_case, suffix_cache=SuffixCache())
            compare_with_reference(function, spec, case)
        # A fast sweep may skip what cannot differ between real runs, and the invariants make up caches.
        if spec.name in SWEEPS:
            check_invariants(partial(_run, function, spec), spec, case)


def compare_with_reference(function: Callable, spec: SweepSpec, case: SweepCase) -> None:
    """Compare a sweep with its reference on one case."""
    _compare(function, spec, case, _reference(spec, case))


def _name_of_reference(spec: SweepSpec) -> str:
    """Return the function of `transformer_lens.patching` that a sweep, a learner's fast one too, must equal."""
    return spec.name.removesuffix("_fast")


def _reference(spec: SweepSpec, case: SweepCase) -> Tensor:
    no_progress_bars = mock.patch.object(patching, "tqdm", wraps=list)  # for milliseconds
    with memoized_forward(case.model, case.suffix_cache), no_progress_bars:
        return getattr(patching, _name_of_reference(spec))(*case.arguments.values())


def _compare(function: Callable, spec: SweepSpec, case: SweepCase, expected: Tensor) -> None:
    actual, expected = _run(function, spec, case), expected.cpu()
    _results.setdefault(case.model, {})[spec.name] = function, actual.clone()  # right or wrong, it can be plotted

    def hint() -> str:
        text = "; ".join([*global_hints(function), _hint(actual, expected, function, spec, case)])
        return text + (SHOW.format(spec.name) if spec.name in SWEEPS else "")

    checked = f"{spec.name} equals transformer_lens.patching.{_name_of_reference(spec)} {case.description}"
    require_close(actual, expected, spec.axes, checked, hint, spec.components)


def _run(function: Callable, spec: SweepSpec, case: SweepCase) -> Tensor:
    """Return the result of the learner's sweep; raise `CheckFailed` unless it has the documented shape and type."""
    result = _call_sweep(function, spec, case)
    shape = _shape(spec, case)
    return require_tensor(
        result,
        shape,
        torch.float32,
        f"{spec.name} returns [{spec.axes}], {case.description}",
        "".join(global_hints(function)) or shape_hint(result, shape, spec.axes) or _sizes_hint(result, spec, case),
    )


def _sizes_hint(result: object, spec: SweepSpec, case: SweepCase) -> str:
    """Name the count that stands in the place of an axis's own, of this case or of the loaded model."""
    shape, cfg = _shape(spec, case), case.model.cfg
    sizes = tuple(result.shape) if is_plain_tensor(result) else ()
    if len(sizes) != len(shape):
        return ENTRIES_HINT
    prompts, positions = case.corrupted_tokens.shape
    counts = {"prompts": prompts, "positions": positions, "layers": cfg.n_layers, "heads": cfg.n_heads}
    for axis, size, wanted in zip(spec.axes.split(), sizes, shape, strict=True):
        if axis == "component" and size != wanted:
            return f"the axis component has {wanted} entries, in this order: {', '.join(spec.components)}"
        other = next((name for name, count in counts.items() if count == size != wanted), None)
        if other:
            return f"the axis {axis} has {size} entries, the number of {other}: {ENTRIES_HINT}"
    loaded = model_in_use()
    if sizes == _shape_with(spec, loaded, load_ioi(loaded).clean_tokens):
        return f"these are the sizes of the loaded model and its prompts, written in: {ENTRIES_HINT}"
    return ENTRIES_HINT


def _shape(spec: SweepSpec, case: SweepCase) -> tuple[int, ...]:
    return _shape_with(spec, case.model, case.corrupted_tokens)


def _shape_with(spec: SweepSpec, model: TransformerBridge, tokens: Tensor) -> tuple[int, ...]:
    sizes = {"component": len(spec.components), "layer": model.cfg.n_layers, "head": model.cfg.n_heads}
    return tuple(sizes.get(axis, tokens.shape[1]) for axis in spec.axes.split())


def _call_sweep(function: Callable, spec: SweepSpec, case: SweepCase) -> object:
    """Call the learner's sweep; raise `CheckFailed` if it leaves traces."""
    tensors = {"corrupted_tokens": case.corrupted_tokens, **case.clean_cache.cache_dict}
    before, weights = {key: tensor.clone() for key, tensor in tensors.items()}, fingerprints(case.model)
    # In this order: an earlier exercise's hooks are removed, then memoizing begins, then changes are noticed.
    with (
        hooks_left(case.model) as left,
        memoized_forward(case.model, case.suffix_cache),
        modes_and_forwards_restored(case.model) as changed,
    ):
        result = call_with(function, spec.name, **case.arguments)
    if left:
        raise hooks_left_over(spec.name, left)
    if changed:
        raise CheckFailed(
            f"{spec.name} leaves the model as it was",
            "every module in the mode and with the forward that it had",
            "; ".join(changed[:1]),
            "it lasts for all exercises after this one: run_with_hooks needs neither model.train() nor another forward",
        )
    _refuse_changes(spec.name, case, before, weights)
    return result


def hooks_left_over(name: str, left: list[str]) -> CheckFailed:
    """Return the refusal of a function that left hooks at these hook points."""
    return CheckFailed(
        f"{name} leaves no hook on the model",
        "no hooks",
        f"hooks at {', '.join(left[:3])}",
        "model.run_with_hooks removes its hooks by itself; model.add_hook and register_forward_hook do not",
    )


def _refuse_changes(name: str, case: SweepCase, before: dict[str, Tensor], weights: dict[str, str]) -> None:
    now = {"corrupted_tokens": case.corrupted_tokens, **case.clean_cache.cache_dict}
    weights_now = fingerprints(case.model)
    changed = changed_tensors(now, before) + [key for key in weights if weights_now.get(key) != weights[key]]
    if changed:
        raise CheckFailed(
            f"{name} leaves its arguments as they were",
            "clean cache, corrupted tokens and the model's weights unchanged",
            f"{familiar_name(case.model, changed[0])} was changed",
            "a hook must never write into a tensor of the clean cache, nor return one that is edited later"
            if changed[0] in case.clean_cache.cache_dict
            else "work on a copy",
        )


def _hint(actual: Tensor, expected: Tensor, function: Callable, spec: SweepSpec, case: SweepCase) -> str:
    """Name the cause, or say what each entry is where none is seen."""
    part = _component_hint(actual, expected, spec)
    return (
        part
        if part.startswith("the order")
        else part
        + (
            _cause(function, spec, case)
            or _other_sweep(actual, spec, case)
            or _unpatched_hint(actual, expected, spec, case)
            or _changed_numbers_hint(actual, expected)
            or "each entry is the metric of one run of the corrupted tokens with one patch from the clean cache"
        )
    )


def _cause(function: Callable, spec: SweepSpec, case: SweepCase) -> str:
    """Return what the sweep's runs did wrong, recorded on a tiny model: on the loaded one they would take gigabytes.

    A fast sweep has no whole run for each entry, to be recorded.
    """
    if case.model.cfg.d_vocab > VOCABULARY or spec.name not in SWEEPS:
        return ""
    try:
        recording = record(function, case)
        return cause_of(recording, _reference(spec, recording.case), spec)
    except Exception:  # a learner's function may raise anything
        return ""


def _other_sweep(actual: Tensor, spec: SweepSpec, case: SweepCase) -> str:
    """Name the activation whose sweep this is, where it is not the asked one."""
    if case.model.cfg.d_vocab > VOCABULARY or spec.has_component_axis:
        return ""
    for other in SWEEPS.values():
        is_other = other.axes == spec.axes and other.components != spec.components
        if is_other and torch.allclose(actual, _reference(other, case).cpu(), **TOLERANCE):
            return f"these are the numbers of patching {other.components[0]}, not {spec.components[0]}"
    return ""


def _unpatched_hint(actual: Tensor, expected: Tensor, spec: SweepSpec, case: SweepCase) -> str:
    """Say so where all wrong entries hold the metric of the corrupted run, or 0 in its place."""
    corrupted = case.patching_metric(case.model(case.corrupted_tokens)).cpu()
    wrong = ~torch.isclose(actual, expected, **TOLERANCE)
    place = ", ".join(f"{axis} {i}" for axis, i in zip(spec.axes.split(), wrong.nonzero()[0].tolist(), strict=True))
    if torch.isclose(actual[wrong], corrupted, **TOLERANCE).all():
        return f"the entry at {place} is the metric of the corrupted run, and a patch there changes it"
    if (actual[wrong] == 0).all() and torch.isclose(expected[wrong], corrupted, **TOLERANCE).all():
        return "the entries that no patch changes are 0: they should be the metric of the corrupted run"
    return ""


def _changed_numbers_hint(actual: Tensor, expected: Tensor) -> str:
    """Say so where the numbers are right but rounded, shifted or scaled, as a whole or for each component."""
    if torch.allclose(actual, expected, rtol=1e-2, atol=1e-3):
        return "the numbers are nearly right: keep float32 from the logits to the result, and round nothing"
    parts = [(actual, expected)] if actual.dim() == 2 else list(zip(actual, expected, strict=True))
    if all(_is_shifted_or_scaled(part.flatten(), wanted.flatten()) for part, wanted in parts):
        return "the numbers are shifted or scaled: each entry is what patching_metric(logits) returns, and no more"
    return ""


def _is_shifted_or_scaled(actual: Tensor, expected: Tensor) -> bool:
    correlation = torch.corrcoef(torch.stack([actual, expected]).double())[0, 1]
    return bool(correlation.abs() > 0.999999)


def _component_hint(actual: Tensor, expected: Tensor, spec: SweepSpec) -> str:
    """Name the components that are wrong, where some are right or they are in another order."""
    if not spec.has_component_axis:
        return ""
    components, found = spec.components, {}
    for component, part in zip(components, actual, strict=True):
        fits = [torch.allclose(part, wanted, **TOLERANCE) for wanted in expected]
        found[component] = components[fits.index(True)] if any(fits) else None
    wrong = [component for component in found if found[component] != component]
    if wrong and all(found.values()):
        return f"the order is {', '.join(components)}, but {found[wrong[0]]} stands in the place of {wrong[0]}"
    if 0 < len(wrong) < len(components):
        return f"the {', '.join(wrong)} part differs and the rest is right: "
    return ""
