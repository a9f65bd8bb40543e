"""A sweep's check apart from its hooks: a right sweep over a wrong hook earns its points."""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any
from unittest import mock

from torch import Tensor

from tests.checks.checking import CheckFailed, NotImplementedYet
from tests.checks.hooks import check_hook
from tests.exercises import HOOKS, Exercise
from utils.sweep_specs import SweepSpec


def check_apart_from_hooks(check: Callable[[Callable], None], function: Callable, spec: SweepSpec) -> None:
    """Run a sweep's check; where it fails and a hook is wrong too, run it again with right hooks in their place.

    A sweep that passes then is right, and a printed line says which hook is not. All stages of the check are the same:
    a sweep that patches by itself, or tells the hook to patch elsewhere, fails as before.
    """
    try:
        check(function)
    except NotImplementedYet:
        raise
    except CheckFailed as failed:
        wrong = wrong_hooks(function, spec)
        if not wrong:
            raise
        with_right_hooks = SweepWithHooks(function, wrong)
        try:
            check(with_right_hooks)
        except CheckFailed:
            raise failed.after(_advice(with_right_hooks.called)) from None
        if not with_right_hooks.called:
            raise failed from None
        names = " and ".join(sorted(with_right_hooks.called))
        print(f"{spec.name} is right, and {names} is not: with a right hook in its place, the sweep passes.")


def _advice(called: set[str]) -> str:
    """Return what to do first about the wrong hooks that a wrong sweep calls."""
    return "".join(f"{name} is wrong too: first make tests.test_{name} pass; then " for name in sorted(called)[:1])


def wrong_hooks(function: Callable, spec: SweepSpec) -> list[Exercise]:
    """Return the hooks of this sweep's components that the learner's namespace has, and that fail their own checks."""
    names = namespace_of(function)
    return [
        hook
        for hook in HOOKS.values()
        if hook.name in names and set(hook.activations) & set(spec.components) and not _passes(names[hook.name], hook)
    ]


def _passes(function: object, hook: Exercise) -> bool:
    with contextlib.suppress(CheckFailed):
        if callable(function):
            check_hook(function, hook)
            return True
    return False


def namespace_of(function: Any) -> dict[str, Any]:
    """Return the global names that a learner's function, method, callable object or partial of one sees."""
    try:
        while hasattr(function, "func"):  # a functools.partial
            function = function.func
        function = inspect.unwrap(function)
        return getattr(function, "__globals__", None) or getattr(type(function).__call__, "__globals__", {})
    except Exception:  # an object that answers in its own way
        return {}


class SweepWithHooks:
    """A learner's sweep that finds right hooks under the names of wrong ones."""

    def __init__(self, function: Callable, hooks: list[Exercise]) -> None:
        self.called: set[str] = set()
        """The names of the hooks that it called."""
        self._function, self._names = function, namespace_of(function)
        self._hooks = {hook.name: self._right_hook(hook) for hook in hooks}
        with contextlib.suppress(Exception):  # a builtin has no signature, and an object may answer in its own way
            self.__signature__ = inspect.signature(function)

    def __call__(self, *args, **kwargs) -> object:
        """Call the sweep, with the right hooks in place for as long."""
        with mock.patch.dict(self._names, self._hooks):
            return self._function(*args, **kwargs)

    def _right_hook(self, hook: Exercise) -> Callable[..., Tensor]:
        """Return a function that patches as the exercise asks, and takes arguments as the learner's hook does."""
        axis, signature = hook.axes.split().index(hook.arguments[2]), _signature(self._names[hook.name], hook)

        def patch(*args, **kwargs) -> Tensor:
            self.called.add(hook.name)
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            activation, point, index, clean_cache = list(given.arguments.values())[:4]
            slices = (*[slice(None)] * axis, index)
            activation[slices] = clean_cache[point.name][slices]
            return activation

        return patch


def _signature(function: Any, hook: Exercise) -> inspect.Signature:
    """Return a hook's own signature, in which a learner may have renamed the arguments, or else the documented one."""
    with contextlib.suppress(Exception):
        signature = inspect.signature(function)
        if len(signature.parameters) >= len(hook.arguments):
            return signature
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, either) for name in hook.arguments])
