"""The causes of wrong entries, each found by computing what it would give and comparing.

Nothing here guesses: a sentence is returned where the recorded runs of a sweep bear it out, and otherwise none.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformer_lens.utilities import get_act_name

from tests.checks.cases import SweepCase
from tests.checks.checking import is_plain_tensor, some
from tests.checks.runs import HookCall, Recording, Run
from utils.references import TOLERANCE
from utils.sweep_specs import SweepSpec

AXES = {
    **dict.fromkeys(("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"), ("prompt", "pos", "d_model")),
    **dict.fromkeys(("z", "q", "k", "v"), ("prompt", "pos", "head", "d_head")),
    **dict.fromkeys(("pattern", "attn_scores"), ("prompt", "head", "pos_q", "pos_k")),
}
"""The axes of the activations that a message can name; any other has the name of its hook point."""

OTHER_VALUES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "the sum of the corrupted and the clean values": lambda before, clean: before + clean,
    "the mean of the corrupted and the clean values": lambda before, clean: (before + clean) / 2,
    "the difference of the clean and the corrupted values": lambda before, clean: clean - before,
    "the negative of the clean values": lambda before, clean: -clean,
    "twice the clean values": lambda before, clean: 2 * clean,
    "zeros": lambda before, clean: torch.zeros_like(clean),
    "the clean values of the prompts in reverse order": lambda before, clean: clean.flip(0),
    "the clean values of prompt 0 for every prompt": lambda before, clean: clean[:1].expand_as(clean),
    "the clean values averaged over the prompts": lambda before, clean: clean.mean(0, keepdim=True).expand_as(clean),
    "a softmax of the clean values": lambda before, clean: clean.softmax(dim=-1),
}
"""What may be written in place of the clean values, from the corrupted and the clean ones."""

OTHER_LOGITS: dict[str, Callable[[Tensor], Tensor]] = {
    "log-probabilities": lambda logits: logits.log_softmax(dim=-1),
    "probabilities": lambda logits: logits.softmax(dim=-1),
    "the logits of the prompts in reverse order": lambda logits: logits.flip(0),
    "the logits of the last position only": lambda logits: logits[:, -1:],
    "the logits of the positions in reverse order": lambda logits: logits.flip(1),
    "the negative of the logits": lambda logits: -logits,
    "the logits rounded to float16": lambda logits: logits.half().float(),
    "the logits of the first prompt only": lambda logits: logits[:1],
    "the logits averaged over the prompts": lambda logits: logits.mean(0, keepdim=True),
}
"""What the metric may be called with in place of a run's logits."""


def _rounded(digits: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda values, corrupted: values.round(decimals=digits)


OTHER_RESULTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "each entry adds up the metrics of its row so far": lambda values, corrupted: values.cumsum(-1),
    "each entry is the average of its row": lambda values, corrupted: values.mean(-1, keepdim=True).expand_as(values),
    "each entry is the metric minus that of the corrupted run": lambda values, corrupted: values - corrupted,
    "each entry is the metric divided by that of the corrupted run": lambda values, corrupted: values / corrupted,
    "each entry is the negative of the metric": lambda values, corrupted: -values,
    "each entry is the absolute value of the metric": lambda values, corrupted: values.abs(),
    "each entry is one minus the metric": lambda values, corrupted: 1 - values,
    "each entry is the metric clamped between 0 and 1": lambda values, corrupted: values.clamp(0, 1),
    "each entry is 100 times the metric": lambda values, corrupted: 100 * values,
    "each entry is rounded to float16": lambda values, corrupted: values.half().float(),
    "each entry is rounded to bfloat16": lambda values, corrupted: values.bfloat16().float(),
    "each entry is rounded to a whole number": lambda values, corrupted: values.round(),
    **{f"each entry is rounded to {digits} decimal places": _rounded(digits) for digits in range(1, 5)},
}
"""What a result may hold in place of the metrics, from these and the metric of the corrupted run."""


def cause_of(recording: Recording, expected: Float[Tensor, "..."], spec: SweepSpec) -> str:
    """Return what made the first wrong entry of a recorded sweep; empty where that is not seen."""
    result, runs = recording.result, recording.runs
    if not runs:
        return "patching_metric is never called: each entry is what it returns for one patched run"
    if not is_plain_tensor(result) or result.shape != expected.shape or _is_batched(recording):
        return ""
    actual, expected = result.detach().float().cpu(), expected.float().cpu()
    wrong = (~torch.isclose(actual, expected, **TOLERANCE)).nonzero().tolist()
    if not wrong:
        return ""
    place = tuple(wrong[0])
    run = _run_of(place, actual, runs)
    if run is None:
        return _other_result(actual, recording) or _too_few_runs(place, recording, spec, actual)
    if run.output is None:
        return _of_earlier_run(run, place, recording, spec)
    what = _other_tokens(run, recording.case) or _other_patch(run, place, recording, spec)
    return (
        f"the entry at {_name(place, spec)} is the metric of a run {what}"
        if what
        else _other_logits(run, recording.case)
    )


def _is_batched(recording: Recording) -> bool:
    """Return whether one run of the model stands for several entries, so that runs and entries do not correspond."""
    prompts = len(recording.case.corrupted_tokens)
    return any(run.tokens is not None and len(run.tokens) > prompts for run in recording.runs)


def _run_of(place: tuple[int, ...], actual: Tensor, runs: list[Run]) -> Run | None:
    """Return the run whose metric an entry is; of several, that which comes in the entry's turn."""
    number = sum(i * stride for i, stride in zip(place, actual.contiguous().stride(), strict=True))
    in_turn = runs[number : number + 1] if len(runs) == actual.numel() else []
    return next((run for run in [*in_turn, *runs] if _is_number(run.value) and _is_value(run, actual[place])), None)


def _is_number(value: Any) -> bool:
    return is_plain_tensor(value) and value.numel() == 1


def _is_value(run: Run, entry: Tensor) -> bool:
    return bool(torch.isclose(run.value.cpu().float().reshape(()), entry, rtol=1e-6))


def _name(place: tuple[int, ...], spec: SweepSpec) -> str:
    axes = zip(spec.axes.split(), place, strict=True)
    return ", ".join(spec.components[i] if axis == "component" else f"{axis} {i}" for axis, i in axes)


def _other_result(actual: Tensor, recording: Recording) -> str:
    """Say what was made of the metrics, where the result is a function of them."""
    case, runs = recording.case, recording.runs
    corrupted = case.patching_metric(case.model(case.corrupted_tokens)).cpu()
    for extra in {max(len(runs) - actual.numel(), 0), 0}:  # runs before or after those of the entries
        values = [run.value for run in runs[extra : extra + actual.numel()]]
        if len(values) < actual.numel() or not all(map(_is_number, values)):
            continue
        in_order = torch.stack([value.cpu().float().reshape(()) for value in values]).reshape(actual.shape)
        for sentence, make in OTHER_RESULTS.items():
            if torch.allclose(actual, make(in_order, corrupted), rtol=1e-5, atol=1e-6):
                return f"{sentence}: it should be what patching_metric(logits) returns, and no more"
    return ""


def _too_few_runs(place: tuple[int, ...], recording: Recording, spec: SweepSpec, actual: Tensor) -> str:
    if len(recording.runs) >= actual.numel():
        return ""
    calls = f"patching_metric is called {len(recording.runs)} times for {actual.numel()} entries"
    return f"{calls}, and the entry at {_name(place, spec)} was never filled in with a metric"


def _of_earlier_run(run: Run, place: tuple[int, ...], recording: Recording, spec: SweepSpec) -> str:
    """Say so where the metric was called again with the logits of an earlier entry's run."""
    if any(other.output is not None and torch.equal(other.output, run.logits) for other in recording.runs):
        return (
            f"the entry at {_name(place, spec)} is the metric of an earlier entry's run: run the model for each entry"
        )
    return ""


def _other_tokens(run: Run, case: SweepCase) -> str:
    tokens = run.tokens
    if tokens is None or torch.equal(tokens, case.corrupted_tokens):
        return ""
    if case.clean_tokens is not None and torch.equal(tokens, case.clean_tokens):
        return "of the clean tokens: patch a run of corrupted_tokens"
    if torch.equal(tokens, case.corrupted_tokens[: len(tokens)]):
        return f"of {len(tokens)} of the {len(case.corrupted_tokens)} prompts"
    return "of other tokens than corrupted_tokens"


def _other_logits(run: Run, case: SweepCase) -> str:
    output = run.output
    if not is_plain_tensor(output) or torch.equal(run.logits, output):
        return ""
    corrupted = case.model(case.corrupted_tokens)
    if corrupted.shape == run.logits.shape and torch.allclose(run.logits, corrupted, atol=1e-6):
        return "patching_metric is called with the logits of the corrupted run, without a patch, not with this run's"
    advice = "call it with the logits as the run returns them"
    for what, change in OTHER_LOGITS.items():
        changed = change(output)
        if changed.shape == run.logits.shape and torch.allclose(run.logits, changed, atol=1e-6):
            return f"patching_metric is called with {what}: {advice}"
    return f"patching_metric is called with other numbers than the logits of the run: {advice}"


def _other_patch(run: Run, place: tuple[int, ...], recording: Recording, spec: SweepSpec) -> str:
    """Compare what was patched with what should have been; both are described in the same words."""
    points, index = _points(recording.case), place[-1]
    wanted = spec.components[place[0] if spec.has_component_axis else 0], place[-2]
    calls = [call for call in run.hook_calls if is_plain_tensor(call.after) and call.before.shape == call.after.shape]
    changing = [call for call in calls if not torch.equal(call.before, call.after)]
    if not run.hook_calls:
        return _no_hook(run, recording.case)
    if not changing:
        return _no_change(run.hook_calls[0], points, recording)
    kind = "pos" if spec.by_position else "head"
    found = list(dict.fromkeys(_describe(call, points, kind) for call in changing))
    description = f"{wanted[0]} of layer {wanted[1]} at {kind} {index}"
    if found == [description]:
        return _other_values(changing[0], wanted, kind, index, recording.case)
    text = f"that patches {' and '.join(found[:3])}{' and more' if len(found) > 3 else ''}"
    if len(found) == 1 and found[0].startswith(f"{description}, in "):
        return f"{text}: take the other axes whole"
    if description in found:
        return f"{text}, not {description} alone{_earlier(changing, run, recording)}"
    return f"{text}, not {description}{_late_binding(changing, kind, index)}"


def _points(case: SweepCase) -> dict[str, tuple[str, int]]:
    """Return the component and layer of each hook point that a message can name."""
    hook_dict = case.model.hook_dict
    names = [(component, layer) for component in AXES for layer in range(case.model.cfg.n_layers)]
    points = {get_act_name(*name): name for name in names}
    return {str(hook_dict[point].name): name for point, name in points.items() if point in hook_dict}


def _no_hook(run: Run, case: SweepCase) -> str:
    if run.output is not None and torch.allclose(run.output, case.model(case.corrupted_tokens), atol=1e-5):
        return "without a patch: pass (get_act_name(...), hook function) in fwd_hooks of run_with_hooks"
    return ""


def _no_change(call: HookCall, points: dict[str, tuple[str, int]], recording: Recording) -> str:
    where = _component_and_layer(call.point, points)
    if not is_plain_tensor(call.after) or call.after.shape != call.before.shape:
        return f"whose hook function returns no activation of the shape of {where}"
    text = f"whose hook function leaves {where} as it is in the corrupted run"
    if not recording.read_clean_cache:
        from_corrupted = any(torch.equal(tokens, recording.case.corrupted_tokens) for tokens in recording.cached_runs)
        own = ", and makes a cache of corrupted_tokens by itself" if from_corrupted else ""
        return f"{text}: the sweep never reads the clean_cache that it is called with{own}"
    return f"{text}: it must write the clean values to the activation, or return a new one that has them"


def _component_and_layer(point: str, points: dict[str, tuple[str, int]]) -> str:
    return "{} of layer {}".format(*points[point]) if point in points else point


def _describe(call: HookCall, points: dict[str, tuple[str, int]], kind: str) -> str:
    """Describe what a hook call changed: `"resid_pre of layer 0 at pos 1"`."""
    axes = AXES.get(points.get(call.point, ("", 0))[0], ())
    name = _component_and_layer(call.point, points)
    return f"{name} at {places(call.before != call.after, axes, kind)}" if kind in axes else name


def places(changed: Bool[Tensor, "*axes"], axes: Sequence[str], kind: str) -> str:
    """Say where an activation was changed: `"pos 1"`, `"every pos"`, or `"pos 1, in prompt 0 only"`."""
    at = {axis: _indices(changed, number) for number, axis in enumerate(axes)}
    parts = {
        axis: f"{axis} {some(at[axis])}" for axis, size in zip(axes, changed.shape, strict=True) if len(at[axis]) < size
    }
    of_kind = parts.pop(kind, f"every {kind}")
    return f"{of_kind}, in {' and '.join(parts.values())} only" if parts else of_kind


def _indices(changed: Tensor, axis: int) -> list[int]:
    return changed.movedim(axis, 0).flatten(1).any(dim=1).nonzero().flatten().tolist()


def _earlier(calls: list[HookCall], run: Run, recording: Recording) -> str:
    """Say so where hook functions of earlier runs were called again."""
    earlier = recording.runs[: next(i for i, other in enumerate(recording.runs) if other is run)]
    functions = {id(call.function) for other in earlier for call in other.hook_calls}
    again = [call for call in calls if id(call.function) in functions]
    return ": hook functions of earlier runs are called again" if 0 < len(again) < len(calls) else ""


def _late_binding(calls: list[HookCall], kind: str, index: int) -> str:
    """Say so where a hook function reads the index from a variable that a loop has set to another value by now."""
    for name, value in _variables(calls[0].function):
        if isinstance(value, int) and value != index and kind[:3] in name:
            return (
                f": its hook function reads the variable {name} when it is called, and {name} is {value} by then: bind "
                "the value when the function is made, with functools.partial"
            )
    return ""


def _variables(function: Any) -> Iterator[tuple[str, object]]:
    """Yield the variables of an enclosing function that a function reads when it is called."""
    while isinstance(function, partial):
        function = function.func
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
        yield name, cell.cell_contents


def _other_values(call: HookCall, wanted: tuple[str, int], kind: str, index: int, case: SweepCase) -> str:
    """Say which values were written in place of the clean ones."""
    axis = AXES[wanted[0]].index(kind)
    activations = case.clean_cache[get_act_name(*wanted)], call.after, call.before
    clean, ours, before = (activation.select(axis, index) for activation in activations)
    if torch.equal(ours, clean):
        return ""
    written = values_written(ours, before, clean, _values(wanted, kind, index, case))
    return f"that writes {written} to {wanted[0]} of layer {wanted[1]} at {kind} {index}, not its clean values there"


def values_written(ours: Tensor, before: Tensor, clean: Tensor, others: Iterable[tuple[str, Tensor]]) -> str:
    """Say what was written in place of the clean values: those of another place, or a function of them."""
    for what, values in others:
        if torch.allclose(ours, values):
            return f"the clean values of {what}"
    for what, make in OTHER_VALUES.items():
        if torch.allclose(ours, make(before, clean), atol=1e-6):
            return what
    return "almost the clean values" if torch.allclose(ours, clean, rtol=0.02) else "other values"


def _values(wanted: tuple[str, int], kind: str, index: int, case: SweepCase) -> Iterator[tuple[str, Tensor]]:
    """Yield the clean values of other activations and indices that could stand in the place of the right ones."""
    axis = AXES[wanted[0]].index(kind)
    shape = case.clean_cache[get_act_name(*wanted)].shape
    for component in AXES:
        for layer in range(case.model.cfg.n_layers):
            tensor = case.clean_cache.cache_dict.get(get_act_name(component, layer))
            if tensor is not None and tensor.shape == shape:
                for other in range(shape[axis]):
                    if (component, layer, other) != (*wanted, index):
                        yield f"{component} of layer {layer} at {kind} {other}", tensor.select(axis, other)
