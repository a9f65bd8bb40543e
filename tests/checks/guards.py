"""What a learner's function must not do on the way to a right result, and how a check notices it.

Nothing is secure inside one Python process: a copy of the library's source, or binding `tests.test_...` itself to a
function that accepts everything, is not prevented here. This notices what happens in practice, and promises no more.
"""

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

from utils import interventions, references, sweeps
from utils.sweeps import arithmetic, layers, patched_runs, patches

FORBIDDEN_MODULES = (patching, interventions, references, sweeps, arithmetic, layers, patches, patched_runs)
"""The modules whose functions do the work of the exercises already."""
HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

# The functions that judge a result, compute the expected one or draw the numbers of a case, saved before any code of a
# learner ran.
_ORIGINALS: dict[ModuleType, dict[str, object]] = {
    torch: {
        name: getattr(torch, name) for name in ("equal", "isclose", "allclose", "rand", "randn", "randint", "randperm")
    },
    torch.testing: {"assert_close": torch.testing.assert_close},
    patching: {
        name: value for name, value in vars(patching).items() if isinstance(value, FunctionType | functools.partial)
    },
}


def save_originals(*modules: ModuleType) -> None:
    """Have `restore_originals` restore what these modules of `tests` define, or import from one another."""
    for module in modules:
        _ORIGINALS[module] = {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, FunctionType | type) and value.__module__.startswith("tests") and name[0] != "_"
        }


def restore_originals() -> None:
    """Undo what a learner's code bound in place of a function that judges results or computes the expected ones."""
    for module, functions in _ORIGINALS.items():
        for name, original in functions.items():
            setattr(module, name, original)


class ForbiddenCall(BaseException):
    """A function of `FORBIDDEN_MODULES` was called; not an `Exception`, for a learner's `except` should not hide it."""


_forbidden_calls: set[str] = set()


@contextlib.contextmanager
def forbidden_calls() -> Iterator[set[str]]:
    """Give a set that names, after the block, the forbidden modules of which it called a function.

    For the time of the block, the code of each function is replaced by one that records the call and raises
    `ForbiddenCall`. So neither another name, nor an earlier `functools.partial`, nor a thread hides a call, and
    everything else runs as fast as without this guard.
    """
    _forbidden_calls.clear()
    originals = [(function, function.__code__) for function in _FORBIDDEN_FUNCTIONS]
    try:
        for function, _ in originals:
            function.__code__ = _STUB
        yield _forbidden_calls
    finally:
        for function, code in originals:
            function.__code__ = code


def record_forbidden_call(module: str) -> None:
    """Record the call of a function of this module; see `forbidden_calls`."""
    _forbidden_calls.add("utils.sweeps" if module.startswith("utils.sweeps") else module)


def _record_and_raise(*args, **kwargs):
    # These lines run as another module's function, so they see that module's names, `__name__` among them.
    from tests.checks import guards

    guards.record_forbidden_call(__name__)
    raise guards.ForbiddenCall


_STUB = inspect.unwrap(_record_and_raise).__code__


def _is_of(code: CodeType, module: ModuleType) -> bool:
    return code.co_filename == module.__file__ and not code.co_freevars


def _forbidden_functions() -> list[FunctionType]:
    """Return the functions and methods that `FORBIDDEN_MODULES` define."""
    found = []
    for module in FORBIDDEN_MODULES:
        for value in vars(module).values():
            for member in vars(value).values() if isinstance(value, type) else (value,):
                function = inspect.unwrap(member) if callable(member) else member
                # A function inside another one has a closure, which its code must fit; it is called by that one.
                if isinstance(function, FunctionType) and _is_of(function.__code__, module):
                    found.append(function)
    return found


_FORBIDDEN_FUNCTIONS = _forbidden_functions()  # before any code of a learner runs


def _set_default_device(device: torch.device) -> None:
    # None is the CPU too, without the cost that naming a device adds to every call.
    torch.set_default_device(None if device.type == "cpu" else device)


@dataclass(frozen=True)
class Setting:
    """One of torch's settings that hold for the whole process."""

    name: str
    get: Callable[[], object]
    set: Callable[[Any], object]
    hint: str


SETTINGS = (
    Setting(
        "grad mode",
        torch.is_grad_enabled,
        torch.set_grad_enabled,
        "torch.set_grad_enabled lasts; `with torch.no_grad():` ends with its block",
    ),
    Setting(
        "default dtype",
        torch.get_default_dtype,
        torch.set_default_dtype,
        "torch.set_default_dtype lasts; give dtype= where a tensor is made",
    ),
    Setting(
        "default device",
        torch.get_default_device,
        _set_default_device,
        "torch.set_default_device lasts; give device= where a tensor is made",
    ),
)


@contextlib.contextmanager
def hooks_left(model: TransformerBridge) -> Iterator[list[str]]:
    """Give a list that names, after the block, the hooks it left on the model, and remove these.

    Hooks of an earlier exercise, permanent ones too, are removed before: they would change every run in the block.
    """
    model.reset_hooks(including_permanent=True)
    before = {place: set(table) for place, table in _hook_tables(model)}
    left: list[str] = []
    try:
        yield left
    finally:
        left += hooks_on(model)
        model.reset_hooks(including_permanent=True)
        # What remains was added past transformer_lens, to a torch module. Some models have such hooks of their own.
        for place, table in _hook_tables(model):
            for key in set(table) - before.get(place, set()):
                del table[key]
                left.append(place)


def hooks_on(model: TransformerBridge) -> list[str]:
    """Return the names of the hook points that carry a hook."""
    names = {
        familiar_name(model, name) for name, point in model.hook_dict.items() if point.fwd_hooks or point.bwd_hooks
    }
    return sorted(names)


def familiar_name(model: TransformerBridge, name: str) -> str:
    """Return the name that learners know a hook point by: `blocks.0.hook_resid_pre` is `blocks.0.hook_in` too."""
    points = model.hook_dict
    return next((other for other in reversed(points) if points[other] is points.get(name)), name)


@contextlib.contextmanager
def modes_and_forwards_restored(model: TransformerBridge) -> Iterator[list[str]]:
    """Give a list that says, after the block, which modules it left in another mode or with another `forward`.

    Both are restored.
    """
    before = {name: (module, module.training, module.forward) for name, module in model.named_modules()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        for name, (module, training, forward) in before.items():
            # transformer_lens wraps the modules of torch, and stores them under this name.
            which = name.replace("_original_component.", "").removesuffix("._original_component") or "the model"
            if module.training != training:
                changed.append(f"{which} is in {'training' if module.training else 'eval'} mode")
                module.training = training
            if module.forward != forward:
                changed.append(f"{which} has another forward")
                vars(module).pop("forward", None)
                if module.forward != forward:  # it was the module's own before, or the class has another one now
                    vars(module)["forward"] = forward


def _hook_tables(model: TransformerBridge) -> Iterator[tuple[str, dict]]:
    for name, module in model.named_modules():
        for table in HOOK_TABLES:
            yield f"{name} ({table.strip('_')})", getattr(module, table)


def fingerprints(model: TransformerBridge) -> dict[str, str]:
    """Return a hash of the bytes of each of the model's weights.

    A copy of a large model's weights takes too much memory. A sum stays the same when numbers change places, and
    torch's count of in-place changes, `tensor._version`, when the change goes through `.data`. A hash is as good as the
    copy and takes about a second for a gigabyte.
    """
    return {name: _fingerprint(weight) for name, weight in model.state_dict().items()}


def _fingerprint(tensor: Tensor) -> str:
    as_bytes = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(as_bytes.numpy().data, digest_size=16).hexdigest()
