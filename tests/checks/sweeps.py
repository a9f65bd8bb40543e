"""How a sweep is checked: its result must equal that of `transformer_lens.patching`."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from unittest import mock
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

from tests.checks.checking import (
    CheckFailed,
    call_with,
    changed_tensors,
    global_hints,
    require_close,
    require_tensor,
    shape_hint,
)
from tests.checks.guards import PausedFollowing, fingerprints, hooks_left, known_name, ways_to_run_kept
from tests.checks.invariants import check_invariants
from tests.checks.tiny_models import VOCABULARY, TinyCase, one_thread, tiny_cases
from utils import load_ioi, make_ioi_metric, model_in_use, reference_sweep
from utils.memoized_forward.blocks import blocks_remembered
from utils.memoized_forward.suffix_cache import KnownEnds
from utils.progress import progress_bar
from utils.references import known_ends

ONLY_COMPONENT = {"layer pos": ("resid_pre",), "layer head": ("z",)}
"""What the sweeps without an axis of components patch."""

_results: WeakKeyDictionary[TransformerBridge, dict[str, tuple[Callable, Tensor]]] = WeakKeyDictionary()
"""For `result_of`: by model and sweep, the function that was checked last and its result."""

NUMBER_OF_ENTRIES = (
    "one entry for each patched run, in this order of axes; layers and heads are numbered by model.cfg, positions by "
    "the corrupted tokens"
)


def check_sweep(
    function: Callable, name: str, axes: str, components: tuple[str, ...] = (), reference: str = ""
) -> None:
    """Compare a sweep with `transformer_lens.patching`'s function of its name, on tiny models, then on the loaded one.

    The tiny models come first because they answer at once; with other prompts, lengths, numbers of prompts and
    metrics they are also what stored or hard-coded numbers fail on. `axes` names the axes of the result, and
    `components` the entries of its first axis where that is one. `reference` is the name in `transformer_lens.patching`
    where it is not the learner's.
    """
    check_sweep_on_tiny_models(function, name, axes, components, reference=reference)
    model = model_in_use()
    model.reset_hooks(including_permanent=True)  # those of an earlier exercise
    data = load_ioi(model)
    expected = reference_sweep(reference or name, model, data)
    ends = known_ends(reference or name, model, data)
    # A sweep with a name of its own may run less often.
    with case_on_loaded_model(None if reference else expected.numel(), ends) as case:
        _compare(function, name, axes, components, case, expected, "on the 8 IOI prompts", reference)


def result_of(function: Callable) -> Tensor:
    """What a learner's sweep gives on the loaded model and the 8 IOI prompts: `tests.result_of(your_sweep)`.

    The check of the sweep has computed it, and it is kept from there; where the check has not run, it is computed.
    """
    for checked, result in _results.get(model_in_use(), {}).values():
        if checked is function:
            return result.clone()
    with case_on_loaded_model(total=None) as case:
        return function(case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric)


@contextlib.contextmanager
def case_on_loaded_model(total: int | None, ends: KnownEnds | None = None) -> Iterator[TinyCase]:
    """A sweep's arguments on the loaded model and the 8 IOI prompts, with a progress bar for `total` patched runs.

    The metric moves the bar, for a sweep calls it once for each of its runs.
    """
    model = model_in_use()
    data = load_ioi(model)
    _, clean_cache = model.run_with_cache(data.tokens)
    ioi_metric = make_ioi_metric(model, data)
    with progress_bar(total) as bar:

        def patching_metric(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
            if bar.n != total:  # what a failure is explained with is no run of the sweep
                bar.update()
            return ioi_metric(logits)

        yield TinyCase(model, data.corrupted_tokens, clean_cache, patching_metric, ends)


def check_sweep_on_tiny_models(
    function: Callable,
    name: str,
    axes: str,
    components: tuple[str, ...] = (),
    seed: int = 0,
    reference: str = "",
) -> None:
    """The part of `check_sweep` that needs no loaded model, and what holds of every sweep whatever the reference."""
    with one_thread():
        for case in map(_with_ends, tiny_cases(seed)):
            expected = _reference(reference or name, case)
            n_layers, n_heads = case.model.cfg.n_layers, case.model.cfg.n_heads
            batch, positions = case.corrupted_tokens.shape
            where = (
                f"on a random model with {n_layers} layers and {n_heads} heads, {batch} prompts of {positions} tokens"
            )
            _compare(function, name, axes, components, case, expected, where, reference)

        def sweep(case: TinyCase) -> Tensor:
            return _run(function, name, axes, case, expected, where)

        # A sweep with a name of its own may skip what cannot differ between real runs; the invariants make up caches.
        if not reference:
            check_invariants(sweep, name, axes, components or ONLY_COMPONENT[axes], case)


def compare_with_reference(
    function: Callable, name: str, axes: str, case: TinyCase, where: str, reference: str
) -> None:
    """Compare a sweep with `transformer_lens.patching`'s function `reference` on one case; `where` describes it."""
    _compare(function, name, axes, (), case, _reference(reference, case), where, reference)


def _with_ends(case: TinyCase) -> TinyCase:
    """The same case, of which it will be known how the reference's runs ended, so that the learner's can end so."""
    return dataclasses.replace(case, ends=KnownEnds())


def _reference(name: str, case: TinyCase) -> Tensor:
    no_progress_bars = mock.patch.object(patching, "tqdm", wraps=list)  # for milliseconds
    with blocks_remembered(case.model, ends=case.ends), no_progress_bars:
        return getattr(patching, name)(case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric)


def _compare(
    function: Callable,
    name: str,
    axes: str,
    components: tuple[str, ...],
    case: TinyCase,
    expected: Tensor,
    where: str,
    reference: str = "",
) -> None:
    actual, expected = _run(function, name, axes, case, expected, where), expected.cpu()
    _results.setdefault(case.model, {})[name] = function, actual.clone()  # right or wrong, it is worth a look

    def hint() -> str:
        return "".join(global_hints(function)) or _hint(
            actual, expected, reference or name, case, axes.split()[-1], components
        )

    require_close(
        actual, expected, axes, f"{name} equals transformer_lens.patching.{reference or name} {where}", hint, components
    )


def _run(function: Callable, name: str, axes: str, case: TinyCase, expected: Tensor, where: str) -> Tensor:
    """The result of the learner's sweep, which has the shape and type of the expected one."""
    result = _call_sweep(function, name, case)
    return require_tensor(
        result,
        tuple(expected.shape),
        expected.dtype,
        f"{name} returns [{axes}], {where}",
        "".join(global_hints(function)) or shape_hint(result, expected.shape, axes) or NUMBER_OF_ENTRIES,
    )


def _call_sweep(function: Callable, name: str, case: TinyCase) -> object:
    """Call the learner's sweep, and refuse one that leaves traces."""
    tensors = {"corrupted_tokens": case.corrupted_tokens, **case.clean_cache.cache_dict}
    before, weights = {key: tensor.clone() for key, tensor in tensors.items()}, fingerprints(case.model)
    # In this order: an earlier exercise's hooks are taken off, then blocks begin to remember, then changes are noticed.
    with (
        hooks_left(case.model) as left,
        blocks_remembered(case.model, PausedFollowing(), case.ends),
        ways_to_run_kept(case.model) as changed,
    ):
        result = call_with(
            function,
            name,
            model=case.model,
            corrupted_tokens=case.corrupted_tokens,
            clean_cache=case.clean_cache,
            patching_metric=case.patching_metric,
        )
    if left:
        raise CheckFailed(
            f"{name} leaves no hook on the model",
            "no hooks",
            f"hooks at {', '.join(left[:3])}",
            "model.run_with_hooks removes its hooks by itself; model.add_hook and register_forward_hook do not",
        )
    if changed:
        raise CheckFailed(
            f"{name} leaves the model as it was",
            "every module in the mode and with the forward that it had",
            "; ".join(changed[:1]),
            "it lasts for all exercises after this one: run_with_hooks needs neither model.train() nor another forward",
        )
    _refuse_changes(name, case, before, weights)
    return result


def _refuse_changes(name: str, case: TinyCase, before: dict[str, Tensor], weights: dict[str, str]) -> None:
    now = {"corrupted_tokens": case.corrupted_tokens, **case.clean_cache.cache_dict}
    weights_now = fingerprints(case.model)
    changed = changed_tensors(now, before) + [key for key in weights if weights_now.get(key) != weights[key]]
    if changed:
        raise CheckFailed(
            f"{name} leaves its arguments as they were",
            "clean cache, corrupted tokens and the model's weights unchanged",
            f"{known_name(case.model, changed[0])} was changed",
            "a hook must never write into a tensor of the clean cache, nor return one that is edited later"
            if changed[0] in case.clean_cache.cache_dict
            else "work on a copy",
        )


def _hint(
    actual: Tensor, expected: Tensor, name: str, case: TinyCase, last_axis: str, components: tuple[str, ...]
) -> str:
    """Name the usual cause that fits what came out."""
    unpatched = case.patching_metric(case.model(case.corrupted_tokens)).cpu().expand_as(expected)
    if torch.allclose(actual, unpatched):
        return "no patch had any effect: pass (get_act_name(...), hook function) in fwd_hooks of run_with_hooks"
    changed_numbers = _changed_numbers_hint(actual, expected)
    if changed_numbers:
        return changed_numbers
    if actual.isnan().any() or ((actual == 0) & (expected != 0)).any():
        return "some entries were never filled in"
    if torch.equal(actual, actual[..., :1].expand_as(actual)):
        return (
            f"every {last_axis} of a row has the same value: each run patches its own {last_axis}, and a function made "
            "in a loop sees the loop's last value unless functools.partial binds the current one"
        )
    return (
        _component_hint(actual, expected, components)
        or _logits_hint(actual, name, case)
        or "each entry is the metric of one run of the corrupted tokens with one patch from the clean cache: "
        "look at which hook point, layer and index each run uses"
    )


def _changed_numbers_hint(actual: Tensor, expected: Tensor) -> str:
    """Tell right numbers that were rounded, moved or scaled, as a whole or for each component, from wrong ones."""
    if torch.allclose(actual, expected, rtol=1e-2, atol=1e-3):
        return "the numbers are nearly right: keep float32 from the logits to the result, and round nothing"
    parts = [(actual, expected)] if actual.dim() == 2 else list(zip(actual, expected, strict=True))
    if all(_is_moved_or_scaled(part.flatten(), wanted.flatten()) for part, wanted in parts):
        return "the numbers are moved or scaled: each entry is what patching_metric(logits) gives, and no more"
    return ""


def _is_moved_or_scaled(actual: Tensor, expected: Tensor) -> bool:
    correlation = torch.corrcoef(torch.stack([actual, expected]).double())[0, 1]
    return bool(correlation.abs() > 0.999999)


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


LOGITS_CHANGED = {
    "not log-probabilities": lambda logits: logits.log_softmax(dim=-1),
    "not probabilities": lambda logits: logits.softmax(dim=-1),
    "with the prompts in their order": lambda logits: logits.flip(0),
}


def _logits_hint(actual: Tensor, name: str, case: TinyCase) -> str:
    """Tell whether the metric was given something else than the logits of the patched run."""
    if case.model.cfg.d_vocab > VOCABULARY:  # the loaded model, on which this would take minutes
        return ""
    for which, change in LOGITS_CHANGED.items():
        given = TinyCase(
            case.model,
            case.corrupted_tokens,
            case.clean_cache,
            lambda logits, change=change: case.patching_metric(change(logits)),
        )
        if torch.allclose(actual, _reference(name, given).cpu(), atol=1e-5):
            return f"give the metric the logits as they come out of the run, {which}"
    return ""
