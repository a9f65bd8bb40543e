"""What every check is made of: calling the learner's function safely, comparing, and saying what went wrong.

A check raises `CheckFailed`, whose text is the whole message, or returns None after one printed line.
"""

import contextlib
import dis
import functools
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType

import torch
from jaxtyping import Float
from torch import Tensor

SHOWN = 3
"""How many differing entries a message names."""

OWN_FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "utils")
LIBRARY_FOLDERS = {"site-packages", "dist-packages"}
NOTEBOOK_VARIABLES = {"model", "data", "clean_tokens", "corrupted_tokens", "clean_cache", "ioi_metric"}


class CheckFailed(AssertionError):
    """A check did not pass; the text says what was checked, what came out, and what to look at."""

    def __init__(self, checked: str, expected: str, actual: str, hint: str):
        super().__init__(f"{checked}\n  expected: {expected}\n  actual:   {actual}\n  hint:     {hint}")

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback: the frames are those of the check, not of the learner."""
        return [f"Not yet. {self}"]


class NotImplementedYet(CheckFailed):
    """The learner has not begun this exercise."""

    def __init__(self, name: str):
        AssertionError.__init__(self, f"{name} is not implemented yet: fill in its cell, run it, and run this again.")

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def exercise_check(check: Callable[[Callable], None], which: str = "all") -> Callable[[Callable], None]:
    """Make a check what notebooks, pytest and nbgrader call; `which` checks these are is printed after a pass.

    While it runs, stderr goes to stdout: nbgrader gives no points to a cell that wrote to stderr, and a progress bar
    or a warning in a right answer must not cost any.
    """
    name = check.__name__.removeprefix("test_")

    @functools.wraps(check)
    def run(*position: Callable, **keyword: Callable) -> None:
        # A notebook gives the function by position, pytest by keyword.
        (function,) = (*position, *keyword.values())
        with contextlib.redirect_stderr(sys.stdout):
            if not callable(function):
                raise CheckFailed(
                    f"{name} is a function", "a function", describe(function), f"keep the line `def {name}(...)`"
                )
            check(function)
        print(f"{name}: {which} checks passed.")

    return run


@contextlib.contextmanager
def _same_grad_mode(name: str) -> Iterator[None]:
    """Refuse a function that leaves gradients switched on or off, and switch them back."""
    before = torch.is_grad_enabled()
    try:
        yield
        after = torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(before)
    if after != before:
        raise CheckFailed(
            f"{name} leaves the grad mode as it was",
            f"torch.is_grad_enabled() stays {before}",
            f"it is {after}",
            "torch.set_grad_enabled lasts; `with torch.no_grad():` ends with its block",
        )


def call(function: Callable, name: str, /, *args, **kwargs):
    """Call the learner's function; turn whatever it raises into a `CheckFailed` that shows the learner's own line."""
    with _same_grad_mode(name):
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit too, and pytest.skip
            raise _raised(function, name, error) from None


def call_with(function: Callable, name: str, **arguments):
    """Call the learner's function with the documented arguments, by keyword, or by position if it renamed them."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
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
        "keep the first lines of the function as they were given",
    )


def _raised(function: Callable, name: str, error: BaseException) -> CheckFailed:
    where = _learners_frame(error)
    if isinstance(error, NotImplementedError) and not error.args:
        return NotImplementedYet(where.name if where and where.name.isidentifier() else name)
    text = _short(str, error)
    hints = [f"it happened in line {where.lineno} of {where.name}: {where.line}"] if where else []
    return CheckFailed(
        f"{name} runs without an error",
        "a result",
        f"{type(error).__name__}: {text}" if text else type(error).__name__,
        "; ".join([*hints, *global_hints(function)]) or "keep the arguments as they were given",
    )


def _learners_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame that belongs to neither the workbook nor a library."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if frame.line and not _is_ours(Path(frame.filename))), None)


def _is_ours(file: Path) -> bool:
    in_library = LIBRARY_FOLDERS.intersection(file.parts) or file.is_relative_to(sysconfig.get_path("stdlib"))
    return bool(in_library) or file.parent in OWN_FOLDERS


def global_hints(function: Callable) -> list[str]:
    """Name the variable of the notebook, if there is one, that a function uses in place of its own argument."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    used = sorted(NOTEBOOK_VARIABLES & _globals_read(code)) if code else []
    return [f"it uses the notebook's variable {name}: use the function's own argument" for name in used[:1]]


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
    kind, text = type(value).__name__, _short(repr, value)
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}" + (f": {text}" if text else "")


def _short(to_text: Callable[[object], str], value: object) -> str:
    """A learner's object as one short line; empty where it has no text, or fails to give one."""
    try:
        text = " ".join(to_text(value).split())
    except Exception:
        return ""
    return text if len(text) <= 160 else text[:157] + "..."


def is_plain_tensor(value: object) -> bool:
    """Whether a value is a tensor with numbers in it, and of no subclass, which could answer any question its way."""
    return (
        (type(value) is Tensor or type(value) is torch.nn.Parameter)
        and value.layout == torch.strided
        and not (value.is_meta or value.is_nested)
    )


def require_tensor(value: object, shape: tuple[int, ...], dtype: torch.dtype, checked: str, hint: str) -> Tensor:
    """Return a copy of `value`, on the CPU; raise `CheckFailed` unless it is a tensor of this shape and type."""
    right_shape = is_plain_tensor(value) and tuple(value.shape) == shape
    if not right_shape or value.dtype != dtype:
        hint = f"the shape is right, the type should be {dtype}" if right_shape else hint
        raise CheckFailed(checked, f"a tensor of shape {list(shape)} and type {dtype}", describe(value), hint)
    return torch.clone(value).detach().cpu()


def changed_tensors(now: Mapping[str, object], before: Mapping[str, Tensor]) -> list[str]:
    """The names under which something else stands now than the tensors of `before`."""
    return [
        key
        for key, tensor in before.items()
        if describe(now.get(key)) != describe(tensor) or not torch.equal(now[key], tensor)
    ]


def require_close(actual: Tensor, expected: Tensor, axes: str, checked: str, hint: str) -> None:
    """Raise `CheckFailed` unless `torch.testing.assert_close` finds the tensors equal, tolerances at their default.

    `axes` names the axes, for the entries the message points at: `"layer pos"`.
    """
    try:
        torch.testing.assert_close(actual, expected)
    except AssertionError:
        raise CheckFailed(checked, *show_differences(actual, expected, axes), hint) from None


def show_differences(actual: Tensor, expected: Tensor, axes: str) -> tuple[str, str]:
    """Two texts, expected and actual, that name the first entries where two tensors of one shape differ."""
    differing = ~torch.isclose(actual, expected, rtol=1.3e-6, atol=1e-5)
    if not expected.dim():
        return f"{expected.item():.4f}", f"{actual.item():.4f}"
    indices = differing.nonzero().tolist()
    names = axes.split()
    places = [", ".join(f"{name} {i}" for name, i in zip(names, index, strict=True)) for index in indices[:SHOWN]]

    def listed(tensor: Float[Tensor, "..."]) -> str:
        shown = [f"{tensor[tuple(i)].item():.4f} at {place}" for i, place in zip(indices, places, strict=False)]
        return "; ".join(shown)

    return listed(expected), f"{listed(actual)} ({len(indices)} of {expected.numel()} entries differ)"


def begins(tensor: Float[Tensor, "..."]) -> str:
    """The first numbers in a tensor."""
    return ", ".join(f"{number:.4f}" for number in tensor.flatten()[:SHOWN].tolist()) + ", ..."


def some(indices: list[int]) -> str:
    """Name a few of many indices: `"0, 1, 2, ..."`."""
    return ", ".join(str(index) for index in indices[:6]) + (", ..." if len(indices) > 6 else "")
