"""The parts of every check: calling the learner's function safely, comparing, and saying what went wrong.

A check raises `CheckFailed`, whose text is the whole message, or returns None after one printed line.
"""

import contextlib
import dis
import functools
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TypeGuard

import torch
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

import tests
import utils
from tests.checks.errors import explanations
from tests.checks.guards import SETTINGS, forbidden_calls, restore_originals
from utils.ioi import IOIData
from utils.references import TOLERANCE

SHOWN = 3
"""How many differing entries a message names."""

OWN_FOLDERS = tuple(Path(package.__path__[0]) for package in (tests, utils))
LIBRARY_FOLDERS = {"site-packages", "dist-packages"}
NOTEBOOK_VARIABLES = {"model", "data", "ioi_metric"} | {
    f"{run}_{what}" for run in ("clean", "corrupted") for what in ("tokens", "cache", "logits", "logit_diff")
}
DATA = (Tensor, ActivationCache, TransformerBridge, IOIData)
"""The types of the notebook's variables, whatever their names."""


DOC = f"""    A pass prints one line. Numbers are compared by `torch.testing.assert_close`, with a relative tolerance of
    {TOLERANCE["rtol"]} and an absolute one of {TOLERANCE["atol"]}.

    Raises `CheckFailed`, an AssertionError whose text says what was checked, the expected and the actual result, and a
    hint; where the function is still the stub, it is a `NotImplementedYet`.
    """


class CheckFailed(AssertionError):
    """A check did not pass; the text says what was checked, the expected and the actual result, and a hint."""

    def __init__(self, checked: str, expected: str, actual: str, hint: str):
        self.parts = checked, expected, actual, hint
        super().__init__(f"{checked}\n  expected: {expected}\n  actual:   {actual}\n  hint:     {hint}")

    def after(self, advice: str) -> "CheckFailed":
        """Return the same failure with advice before its hint."""
        checked, expected, actual, hint = self.parts
        return CheckFailed(checked, expected, actual, advice + hint)

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints instead of a traceback, whose frames are the check's, not the learner's."""
        return [f"Not yet. {self}"]


class NotImplementedYet(CheckFailed):
    """The learner has not begun this exercise."""

    def __init__(self, name: str):
        AssertionError.__init__(self, f"{name} is not implemented yet: fill in its cell, run it, and run this again.")

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def exercise_check(check: Callable[[Callable], None], which: str = "all") -> Callable[[Callable], None]:
    """Wrap a check of a function as `variable_check` does; anything that cannot be called is refused first."""
    name = check.__name__.removeprefix("test_")

    @functools.wraps(check)
    def of_function(*position: object, **keyword: object) -> None:
        # A notebook gives the function by position, pytest by keyword.
        (function,) = (*position, *keyword.values())
        if not callable(function):
            raise CheckFailed(
                f"{name} is a function", "a function", describe(function), f"keep the line `def {name}(...)`"
            )
        check(function)

    return variable_check(of_function, which)


def variable_check(check: Callable[..., None], which: str = "all") -> Callable[..., None]:
    """Wrap a check for notebooks, pytest and nbgrader; after a pass it prints that `which` checks passed.

    While it runs, stderr goes to stdout: nbgrader gives no points to a cell that wrote to stderr, and a progress bar
    or a warning in a right answer must not cost any.
    """
    name = check.__name__.removeprefix("test_")
    check.__doc__ = f"{(check.__doc__ or '').rstrip()}\n\n{DOC}"

    @functools.wraps(check)
    def run(*position: object, **keyword: object) -> None:
        restore_originals()
        with contextlib.redirect_stderr(sys.stdout):
            check(*position, **keyword)
        print(f"{name}: {which} checks passed.")

    return run


@contextlib.contextmanager
def _same_settings(name: str) -> Iterator[None]:
    """Refuse a function that leaves one of torch's settings changed, and restore it."""
    before = [setting.get() for setting in SETTINGS]
    changed = []
    try:
        yield
    finally:
        for setting, value in zip(SETTINGS, before, strict=True):
            if setting.get() != value:
                changed.append((setting, value, setting.get()))
                setting.set(value)
    if changed:
        setting, value, now = changed[0]
        raise CheckFailed(
            f"{name} leaves torch's {setting.name} as it was", f"{setting.name} {value}", f"{now}", setting.hint
        )


@contextlib.contextmanager
def _own_work(name: str) -> Iterator[None]:
    """Refuse a function that lets another's code do the exercise's work, whatever else it does."""
    with forbidden_calls() as called:
        try:
            yield
        finally:
            if called:
                raise CheckFailed(
                    f"{name} does its own patching",
                    "runs of the model with your own hook function",
                    f"it called a function of {', '.join(sorted(called))}",
                    "call model.run_with_hooks yourself, once for each run",
                ) from None


def call(function: Callable, name: str, /, *args, **kwargs):
    """Call the learner's function; turn whatever it raises into a `CheckFailed` that shows the learner's own line."""
    with _same_settings(name), _own_work(name):
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit too, and pytest.skip
            raise _raised(function, name, error, [*args, *kwargs.values()]) from None
        finally:
            restore_originals()


def call_with(function: Callable, name: str, **arguments):
    """Call the learner's function with the documented arguments, by keyword, or by position if it renamed them."""
    try:
        signature = inspect.signature(function)
    except Exception:  # a builtin has none, and an object may answer in its own way
        return call(function, name, **arguments)
    with contextlib.suppress(TypeError):
        signature.bind(**arguments)
        return call(function, name, **arguments)
    with contextlib.suppress(TypeError):
        signature.bind(*arguments.values())
        return call(function, name, *arguments.values())
    raise CheckFailed(
        f"{name} takes the documented arguments",
        f"{name}({', '.join(arguments)})",
        f"{name}{signature}",
        "keep the first lines of the function as in the exercise",
    )


def _raised(function: Callable, name: str, error: BaseException, arguments: Sequence[object]) -> CheckFailed:
    where = _learners_frame(error)
    if type(error) is NotImplementedError and not error.args:
        return NotImplementedYet(where.name if where and where.name.isidentifier() else name)
    text = _short(str, error)
    line = [f"it happened in line {where.lineno} of {where.name}: {where.line}"] if where else []
    hints = [*line, *explanations(error, arguments), *global_hints(function)]
    return CheckFailed(
        f"{name} runs without an error",
        "a result",
        f"{type(error).__name__}: {text}" if text else type(error).__name__,
        "; ".join(hints) or "the error is raised while the function runs: call it yourself in a cell to see every line",
    )


def _learners_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Return the innermost frame that belongs to neither the workbook nor a library."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if frame.line and not _is_ours(Path(frame.filename))), None)


def _is_ours(file: Path) -> bool:
    in_library = LIBRARY_FOLDERS.intersection(file.parts) or file.is_relative_to(sysconfig.get_path("stdlib"))
    return bool(in_library) or any(file.is_relative_to(folder) for folder in OWN_FOLDERS)


def global_hints(function: Callable) -> list[str]:
    """Name the variable of the notebook, if there is one, that a function uses in place of its own argument."""
    try:
        read = sorted(_notebook_variables(inspect.unwrap(function), set()))
    except Exception:  # a builtin, or an object that answers in its own way
        return []
    return [
        f"{f'the helper {user}' if user else 'it'} uses the notebook's variable {name}: use the function's own argument"
        for name, user in read[:1]
    ]


def _notebook_variables(function: Any, seen: set[str], user: str = "") -> set[tuple[str, str]]:
    """Return the variables that a function reads, each with the name of the notebook's helper that reads it, if any."""
    while isinstance(function, functools.partial):
        function = function.func
    found: set[tuple[str, str]] = set()
    if not isinstance(function, FunctionType):
        return found
    for name in _globals_read(function.__code__) - seen:
        seen.add(name)
        value = function.__globals__.get(name)
        if name in NOTEBOOK_VARIABLES or isinstance(value, DATA) or type(value) is int:
            found.add((name, user))
        elif isinstance(value, FunctionType) and value.__globals__ is function.__globals__:
            found |= _notebook_variables(value, seen, name)
    return found


def _globals_read(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    read = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return read.union(*map(_globals_read, inner))


def describe(value: object) -> str:
    """Say briefly what a value is: a tensor's shape and type, or the type of anything else."""
    if value is None:
        return "None"
    if is_plain_tensor(value):
        return f"a tensor of shape {list(value.shape)} and type {value.dtype}"
    if type(value) is Tensor and value.layout != torch.strided:
        return f"a tensor of layout {value.layout}"
    kind, text = _short(lambda value: type(value).__name__, value) or "nameless thing", _short(repr, value)
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}" + (f": {text}" if text else "")


def _short(to_text: Callable[[object], str], value: object) -> str:
    """Return a learner's object as one short line; empty where it has no text, or fails to give one."""
    try:
        text = " ".join(to_text(value).split())
    except Exception:
        return ""
    return text if len(text) <= 160 else text[:157] + "..."


def is_plain_tensor(value: object) -> TypeGuard[Tensor]:
    """Return whether a value is a tensor with numbers in it, not of a subclass, which may override any method."""
    return (
        (type(value) is Tensor or type(value) is torch.nn.Parameter)
        and value.layout == torch.strided
        and not (value.is_meta or value.is_nested)
    )


def require_tensor(value: object, shape: tuple[int, ...], dtype: torch.dtype, checked: str, hint: str) -> Tensor:
    """Return a copy of `value`, on the CPU; raise `CheckFailed` unless it is a tensor of this shape and type."""
    if not is_plain_tensor(value) or tuple(value.shape) != shape or value.dtype != dtype:
        if is_plain_tensor(value) and tuple(value.shape) == shape:
            hint = f"the shape is right, the type should be {dtype}"
        raise CheckFailed(checked, f"a tensor of shape {list(shape)} and type {dtype}", describe(value), hint)
    try:
        return torch.clone(value).detach().cpu()
    except RuntimeError:  # it escaped from torch.func, say
        raise CheckFailed(checked, "numbers", "a tensor whose numbers cannot be read", hint) from None


def shape_hint(value: object, shape: tuple[int, ...], axes: str) -> str:
    """Return a hint for a result that is not a tensor of the expected shape; empty where no usual cause fits."""
    if value is None:
        return "end with `return`"
    if not is_plain_tensor(value):
        return "return one torch tensor"
    if value.shape != shape and sorted(value.shape) == sorted(shape):
        return f"the axes should be [{axes}]"
    return ""


def changed_tensors(now: Mapping[str, Any], before: Mapping[str, Tensor]) -> list[str]:
    """Return the names whose values are not the tensors of `before` any more."""
    return [
        key
        for key, tensor in before.items()
        if describe(now.get(key)) != describe(tensor) or not torch.equal(now[key], tensor)
    ]


def require_close(
    actual: Tensor,
    expected: Tensor,
    axes: str,
    checked: str,
    hint: str | Callable[[], str],
    components: Sequence[str] = (),
) -> None:
    """Raise `CheckFailed` unless `torch.testing.assert_close` finds the tensors equal, within `TOLERANCE`.

    `axes` names the axes, for the entries the message points at, `"layer pos"`; `components` the entries of the axis
    "component". A `hint` that takes time to find is a function, called only if it is needed.
    """
    try:
        torch.testing.assert_close(actual, expected, **TOLERANCE)
    except AssertionError:
        differing = ~torch.isclose(actual, expected, **TOLERANCE)
        expected_and_actual = show(actual, expected, differing, axes, components)
        raise CheckFailed(checked, *expected_and_actual, hint() if callable(hint) else hint) from None


def show(
    actual: Tensor, expected: Tensor, differing: Tensor, axes: str, components: Sequence[str] = ()
) -> tuple[str, str]:
    """Return two texts, expected and actual, that name the first entries where two tensors of one shape differ."""
    if not expected.dim():
        return two_texts(expected.item(), actual.item())
    indices = differing.nonzero().tolist()
    texts = []
    for index in indices[:SHOWN]:
        place = ", ".join(
            components[i] if axis == "component" else f"{axis} {i}" for axis, i in zip(axes.split(), index, strict=True)
        )
        numbers = two_texts(expected[tuple(index)].item(), actual[tuple(index)].item())
        texts.append([f"{number} at {place}" for number in numbers])
    wanted, found = ("; ".join(side) for side in zip(*texts, strict=True))
    return wanted, f"{found} ({len(indices)} of {expected.numel()} entries differ)"


def two_texts(expected: float, actual: float) -> tuple[str, str]:
    """Return two different numbers with as few digits as show the difference."""
    short = f"{expected:z.4f}", f"{actual:z.4f}"  # z: no minus sign before 0.0000
    return short if short[0] != short[1] else (f"{expected:.9g}", f"{actual:.9g}")


def some(indices: list[int]) -> str:
    """Name a few of many indices: `"0, 1, 2, ..."`."""
    return ", ".join(str(index) for index in indices[:6]) + (", ..." if len(indices) > 6 else "")
