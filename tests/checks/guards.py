"""What a learner's function must not do on the way to a right result, and how a check notices it.

Nothing is secure inside one Python process: who copies the library's source, or binds `tests.test_...` itself to a
function that says yes, is not stopped here. This notices what happens in practice, and promises no more.
"""

import contextlib
import functools
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, FunctionType, ModuleType

import torch
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

import utils
from utils.memoized_forward.blocks import Run

UTILS = Path(utils.__file__).parent
# The files in which the exercises' work is done already.
BORROWED_FROM = {
    patching.__file__: "transformer_lens.patching",
    str(UTILS / "references.py"): "utils.references",
    **{str(file): "utils.sweeps" for file in UTILS.glob("sweeps/*.py")},
}
HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

# The functions that judge a result, give the expected one or draw the numbers of a case, as they were before any code
# of a learner ran.
_ORIGINALS: dict[ModuleType, dict[str, object]] = {
    torch: {
        name: getattr(torch, name) for name in ("equal", "isclose", "allclose", "rand", "randn", "randint", "randperm")
    },
    torch.testing: {"assert_close": torch.testing.assert_close},
    patching: {
        name: value for name, value in vars(patching).items() if isinstance(value, FunctionType | functools.partial)
    },
}


def keep_originals(*modules: ModuleType) -> None:
    """Have `put_back_originals` put back what these modules of `tests` define, or import from one another."""
    for module in modules:
        _ORIGINALS[module] = {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, FunctionType | type) and value.__module__.startswith("tests") and name[0] != "_"
        }


def put_back_originals() -> None:
    """Undo what a learner's code put in place of a function that judges results or gives the expected ones."""
    for module, functions in _ORIGINALS.items():
        for name, original in functions.items():
            setattr(module, name, original)


@dataclass
class Calls:
    """What was noticed of the calls in a block of code."""

    borrowed_from: set[str] = field(default_factory=set)
    """The modules of `BORROWED_FROM` of which a function was called."""
    followed: bool = True
    """Whether Python reported the calls to us all the time."""


@contextlib.contextmanager
def calls_followed() -> Iterator[Calls]:
    """Follow the calls in the block, those in threads that it starts too.

    The file in which a function was defined tells, so that neither another name, nor another way to import it, nor a
    `functools.partial` made earlier hides the call.
    """
    calls = Calls()
    switch = sys.setprofile  # with which the block could switch this off for a while

    def note(frame: FrameType, event: str, function: object) -> None:
        if event == "call" and frame.f_code.co_filename in BORROWED_FROM:
            calls.borrowed_from.add(BORROWED_FROM[frame.f_code.co_filename])
        elif event == "c_call" and function is switch and not _is_for_the_model(frame):
            calls.followed = False

    before = sys.getprofile(), threading.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield calls
    finally:
        followed = calls.followed and sys.getprofile() is note and threading.getprofile() is note
        sys.setprofile(before[0])
        threading.setprofile(before[1])
        calls.followed = followed  # after our own call of sys.setprofile, which was noted too


class PausedFollowing(threading.local):
    """Pauses the following of calls, which makes each of them faster, and resumes it.

    It is for `utils.memoized_forward.blocks`, where no code of a learner's runs. Anywhere else, it makes the check say
    that it could not follow.
    """

    def pause(self) -> None:
        """Do not follow this thread's calls."""
        self._before = sys.getprofile()
        sys.setprofile(None)

    def resume(self) -> None:
        """Follow them again, where they were followed."""
        sys.setprofile(self._before)


def _is_for_the_model(frame: FrameType) -> bool:
    """Whether this frame switches the following of calls off for the model's own code."""
    caller = frame.f_back
    return (
        frame.f_code is PausedFollowing.pause.__code__
        and caller is not None
        and caller.f_code is Run._set_watched.__code__
    )


def _set_default_device(device: torch.device) -> None:
    # None is the CPU too, without the cost that a device named by the user adds to every call.
    torch.set_default_device(None if device.type == "cpu" else device)


@dataclass(frozen=True)
class Setting:
    """One of torch's settings that hold for the whole process."""

    name: str
    get: Callable[[], object]
    set: Callable[[object], None]
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
    """Give a list that names, after the block, the hooks it left on the model, and take these off.

    Hooks of an earlier exercise, permanent ones too, are taken off before: they would change every run in the block.
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
    """The names of the hook points that carry a hook."""
    names = {known_name(model, name) for name, point in model.hook_dict.items() if point.fwd_hooks or point.bwd_hooks}
    return sorted(names)


def known_name(model: TransformerBridge, name: str) -> str:
    """The name by which learners know a hook point: `blocks.0.hook_resid_pre` is `blocks.0.hook_in` too."""
    points = model.hook_dict
    return next((other for other in reversed(points) if points[other] is points.get(name)), name)


@contextlib.contextmanager
def ways_to_run_kept(model: TransformerBridge) -> Iterator[list[str]]:
    """Give a list that says, after the block, which modules it left in another mode or with another `forward`.

    Afterwards they are as they were.
    """
    before = {name: (module, module.training, module.forward) for name, module in model.named_modules()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        for name, (module, training, forward) in before.items():
            # transformer_lens wraps the modules of torch, and keeps them under this name.
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
    """A hash of the bytes of each of the model's weights.

    A copy of a large model's weights takes too much memory. A sum stays the same when numbers change places, and
    torch's count of in-place changes, `tensor._version`, when the change goes through `.data`. A hash is as good as the
    copy and takes about a second for a gigabyte.
    """
    return {name: _fingerprint(weight) for name, weight in model.state_dict().items()}


def _fingerprint(tensor: Tensor) -> str:
    as_bytes = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(as_bytes.numpy().data, digest_size=16).hexdigest()
