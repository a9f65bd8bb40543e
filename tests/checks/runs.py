"""What the runs of a sweep did, observed: the cause of a wrong entry is read off, not guessed.

The sweep is run once more, on a clean cache that differs from the corrupted run everywhere, while the calls of the
model, of the hook functions and of the metric are recorded. An entry that differs from the reference belongs to the run
whose metric it is; what that run patched is compared with what it should have patched (`tests.checks.causes`).
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from tests.checks.cases import SweepCase
from tests.checks.checking import call_with
from utils.memoized_forward import memoized_forward


@dataclasses.dataclass(frozen=True)
class HookCall:
    """One call of a learner's hook function: the activation before and after it."""

    point: str
    """The hook point, by transformer_lens's own name, such as `blocks.0.hook_in`."""
    function: Callable
    before: Tensor
    after: Any


@dataclasses.dataclass(frozen=True)
class Run:
    """A call of the metric, and the run of the model before it."""

    logits: Tensor
    """What the metric was called with."""
    value: Tensor
    """What it returned."""
    tokens: Tensor | None
    """What the model was called with; None where it was not called since the last call of the metric."""
    output: Tensor | None
    """What the model returned."""
    hook_calls: tuple[HookCall, ...]


@dataclasses.dataclass
class Recording:
    """What a sweep did."""

    case: SweepCase
    runs: list[Run] = dataclasses.field(default_factory=list)
    result: Any = None
    read_clean_cache: bool = False
    """Whether it read an activation of the clean cache that it was called with."""
    cached_runs: list[Tensor] = dataclasses.field(default_factory=list)
    """The tokens of its own calls of `run_with_cache`."""


class ReadCache(ActivationCache):
    """A clean cache that notes whether it is read."""

    is_read = False

    @property
    def cache_dict(self) -> dict[str, Tensor]:  # type: ignore[override]
        """The activations, by which every way of reading them goes."""
        self.is_read = True
        return self._activations

    @cache_dict.setter
    def cache_dict(self, activations: dict[str, Tensor]) -> None:
        self._activations = activations


def record(function: Callable, case: SweepCase) -> Recording:
    """Run a sweep on a case whose clean cache differs everywhere, and return what it did."""
    # A function of the activation alone, for the cache may hold one under two names.
    activations = {name: 2 * tensor + 1 + (37 * tensor).sin() for name, tensor in case.clean_cache.cache_dict.items()}
    clean_cache = ReadCache(activations, case.model)
    clean_cache.is_read = False
    recording = Recording(dataclasses.replace(case, clean_cache=clean_cache, suffix_cache=None))
    calls: list[HookCall] = []
    outputs: list[tuple[Tensor, Tensor]] = []

    def metric(logits: Tensor) -> Tensor:
        value = case.patching_metric(logits)
        tokens, output = outputs[-1] if outputs else (None, None)
        recording.runs.append(Run(logits.clone(), value.detach().clone(), tokens, output, tuple(calls)))
        calls.clear()
        outputs.clear()
        return value

    arguments = {**recording.case.arguments, "patching_metric": metric}
    try:
        with (
            memoized_forward(case.model),
            _recorded_hooks(calls),
            _recorded_forward(case.model, outputs, recording.cached_runs),
        ):
            recording.result = call_with(function, "the sweep", **arguments)
    finally:
        case.model.reset_hooks(including_permanent=True)
    recording.read_clean_cache = clean_cache.is_read
    return recording


@contextlib.contextmanager
def _recorded_hooks(calls: list[HookCall]) -> Iterator[None]:
    """Record the calls of all hook functions that are added in the block, except those of transformer_lens itself."""
    add_hook = HookPoint.add_hook

    def add_recorded(point: HookPoint, hook: Any, *args, **kwargs) -> Any:
        if str(getattr(hook, "__module__", "")).startswith("transformer_lens"):
            return add_hook(point, hook, *args, **kwargs)

        @functools.wraps(hook)
        def recorded(activation: Any, hook: HookPoint, function: Callable = hook) -> Any:
            before = activation.clone()
            result = function(activation, hook=hook)
            after = activation if result is None else result
            calls.append(HookCall(str(point.name), function, before, after.clone()))
            return result

        return add_hook(point, recorded, *args, **kwargs)  # type: ignore[arg-type]

    with mock.patch.object(HookPoint, "add_hook", add_recorded):
        yield


@contextlib.contextmanager
def _recorded_forward(
    model: TransformerBridge, outputs: list[tuple[Tensor, Tensor]], cached_runs: list[Tensor]
) -> Iterator[None]:
    """Record tokens and logits of the runs of the block, and apart from these the tokens of `run_with_cache`."""
    forward, run_with_cache = model.forward, model.run_with_cache

    def recorded(tokens: Any, *args, **kwargs) -> Any:
        before = tokens.clone()
        output = forward(tokens, *args, **kwargs)
        outputs.append((before, output.clone()))
        return output

    def recorded_with_cache(tokens: Any, *args, **kwargs) -> Any:
        cached_runs.append(tokens.clone())
        result = run_with_cache(tokens, *args, **kwargs)
        outputs.pop()
        return result

    with mock.patch.dict(vars(model), forward=recorded, run_with_cache=recorded_with_cache):
        yield
