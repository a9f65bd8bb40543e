"""Blocks that remember their last run: the runs of a sweep differ from one another in one place only.

What comes before the patched block is the same in every run of a sweep, and where a patch changes nothing, so is what
comes after it. While a sweep is checked, a block that is given what it was given last time answers with what it gave
then: what computing it again would give, bit by bit, in a fraction of the time. And where the end of a run is known
from one that came to the same residual stream (`suffix_cache`), the blocks that lie between are left out.
"""

import contextlib
import functools
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from unittest import mock

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook as has_any_global_hook
from transformer_lens.model_bridge import TransformerBridge

from utils.memoized_forward.hook_names import hook_names_remembered
from utils.memoized_forward.suffix_cache import KnownEnds
from utils.memoized_forward.values import SIMPLE, Values, values_of

# What is asked in every run is asked without a line of Python for each module.
PARTS_AND_HOOKS = operator.itemgetter("_modules", "_forward_hooks", "_forward_pre_hooks")
MODE = operator.itemgetter("training")
FORWARD_OF_ITS_OWN = operator.methodcaller("get", "forward")
TIMES_WRITTEN_TO = operator.attrgetter("_version")


class Watch(Protocol):
    """Something that watches code as it runs, and makes it slower."""

    def pause(self) -> None:
        """Stop watching this thread."""

    def resume(self) -> None:
        """Watch this thread again."""


@contextlib.contextmanager
def blocks_remembered(
    model: TransformerBridge, watch: Watch | None = None, ends: KnownEnds | None = None
) -> Iterator[None]:
    """Have every block of the model, its embedding and unembedding too, remember its last run, until the context ends.

    Hooks work as ever: a block with a hook is computed, as far as the hook reaches. The model must have been run once,
    for its first run puts hooks of its own into it. `watch` is paused where no code runs but the model's: outside the
    blocks with hooks. `ends` are looked at after the last block with a hook, and ends that are not known noted there.
    """
    parts = list(_parts(model))
    inside = {module for part in parts for module in part.modules()}
    outside = State([*{*model.modules(), *model.original_model.modules()} - inside])
    run = Run(watch, ends, outside)
    with contextlib.ExitStack() as stack:
        stack.enter_context(hook_names_remembered(model))
        config = getattr(model.original_model, "config", None)
        if getattr(config, "use_cache", False):
            # Keys and values, kept for generating text: with these to be added to, no run would be like another.
            stack.enter_context(mock.patch.object(config, "use_cache", False))
        for module in parts:
            forward = RememberingForward(module, run)
            _replace_forward(module, forward, stack)
            forward.state.note()
        blocks = [vars(block)["forward"] for block in model.blocks]
        for layer, block in enumerate(blocks):
            block.layer, block.block_and_later = layer, blocks[layer:]
        _replace_forward(model, run.of(model.forward), stack)
        outside.note()
        yield


def _replace_forward(module: nn.Module, forward: Callable, stack: contextlib.ExitStack) -> None:
    # Not by setattr, which for a part of transformer_lens changes the library's part inside it.
    vars(module)["forward"] = forward
    stack.callback(vars(module).pop, "forward", None)


def _parts(model: TransformerBridge) -> Iterator[nn.Module]:
    """The model's blocks, and what comes before and after them.

    A block of transformer_lens runs the one of the library that the model comes from. The first has the hook points at
    its beginning and its end, the second all others; it is asked where the first has a hook.
    """
    for part in model.children():
        if part is model.blocks:
            yield from (block.original_component for block in part)
            yield from part
        else:
            yield part


class State:
    """How some modules are: their parts, hooks and mode, and how often their weights were written to."""

    def __init__(self, modules: list[nn.Module], with_settings_of: nn.Module | None = None) -> None:
        self._tables = [vars(module) for module in modules]
        self._settings = vars(with_settings_of) if with_settings_of else {}
        self._weights = [each for module in modules for each in (*module.parameters(False), *module.buffers(False))]

    def note(self) -> None:
        """Take what they are now for what they should be."""
        # What it is now must not change with the tables.
        self._before = _copied(self._now())

    def is_unchanged(self) -> bool:
        """Whether they are as noted, and nothing but what they are given decides their result."""
        # In training mode, they may draw random numbers.
        return self._now() == self._before and True not in self._before[1] and not has_any_global_hook()

    def _now(self) -> tuple:
        return (
            list(map(PARTS_AND_HOOKS, self._tables)),
            list(map(MODE, self._tables)),
            list(map(FORWARD_OF_ITS_OWN, self._tables)),
            list(map(TIMES_WRITTEN_TO, self._weights)),
            # Such as the block at which a run is to stop.
            {name: value for name, value in self._settings.items() if type(value) in SIMPLE},
        )


class Run(threading.local):
    """How far a run of the whole model has come; each thread has its own."""

    is_whole = False
    """Whether the model was called to run from its beginning to its end."""
    parts_entered = 0
    """How many parts are being computed, one inside another. Code of a hook runs inside one only."""
    key = b""
    """Of what that block was given from which on none has a hook; empty before its turn, and where it is of no use."""
    end: Tensor | None = None
    """The residual stream after the last block, once it is known before that block's turn."""
    is_watched = True

    def __init__(self, watch: Watch | None, ends: KnownEnds | None, outside: State) -> None:
        self._watch = watch
        self._outside = outside
        """Of the modules that hold the parts together."""
        self.ends = ends

    def of(self, forward: Callable) -> Callable:
        """The model's `forward` with a note that it runs."""

        @functools.wraps(forward)
        def run(*args, **kwargs):
            # An argument such as stop_at_layer asks for something else than a whole run.
            others = {name for name, value in kwargs.items() if value is not None} - {"input", "return_type"}
            if self.is_whole or others or len(args) > 1 or not self._outside.is_unchanged():
                return forward(*args, **kwargs)
            self.is_whole = True
            try:
                return self.watched(False, forward, args, kwargs)
            finally:
                self.is_whole, self.key, self.end = False, b"", None

        return run

    def watched(self, is_watched: bool, forward: Callable, args: tuple, kwargs: dict) -> object:
        """Call a `forward` with the watch on, or paused; afterwards it is as before."""
        if self._watch is None or self.is_watched == is_watched:
            return forward(*args, **kwargs)
        self._set_watched(is_watched)
        try:
            return forward(*args, **kwargs)
        finally:
            self._set_watched(not is_watched)

    def _set_watched(self, is_watched: bool) -> None:
        self.is_watched = is_watched
        if is_watched:
            self._watch.resume()
        else:
            self._watch.pause()

    @property
    def is_between_parts(self) -> bool:
        """Whether the part that is called now is called by the model itself, in a run of the whole model."""
        return self.is_whole and self.parts_entered == 1


class RememberingForward:
    """A module's `forward` that keeps its last arguments and result, and gives the result again for equal arguments.

    While the module is otherwise than it was at the beginning, it is computed, and nothing is remembered.
    """

    layer: int | None = None
    """The number of the block, if it is one of the model's."""
    block_and_later: Sequence["RememberingForward"] = ()
    """This block and all that come after it."""

    def __init__(self, module: nn.Module, run: Run) -> None:
        self._forward = module.forward
        self._run = run
        self.state = State(list(module.modules()), with_settings_of=module)
        self._last: tuple[Values, object] | None = None
        """Arguments and result, in one tuple, so that another thread finds both or none."""
        self._gives_a_tuple: bool | None = None
        """Whether the model gets the residual stream from this block in a tuple; None where that is not known yet."""

    def __call__(self, *args, **kwargs):
        self._run.parts_entered += 1
        try:
            return self._answer(args, kwargs)
        finally:
            self._run.parts_entered -= 1

    def _answer(self, args: tuple, kwargs: dict) -> object:
        if self._is_passed(args):
            return self._end()
        given, last = values_of((args, kwargs)), self._last
        if given is None or not self.state.is_unchanged():
            return self._run.watched(True, self._forward, args, kwargs)
        if last and last[0] == given:
            return _copied(last[1])
        if self._is_end_known(given):
            return self._end()
        given = given.copy()  # before anybody can write into it
        result = self._run.watched(False, self._forward, args, kwargs)
        self._last = (given, _copied(result)) if values_of(result) else None
        if self._run.is_between_parts:
            self._note_end(result)
        return result

    def _is_passed(self, args: tuple) -> bool:
        """Whether the run is at its end already, and this block only hands it on."""
        run = self._run
        return run.end is not None and self.layer is not None and run.is_between_parts and args[0] is run.end

    def _is_end_known(self, given: Values) -> bool:
        """At the first block from which on none has a hook, look for the run's end."""
        run = self._run
        if run.ends is None or self.layer is None or run.key or not run.is_between_parts:
            return False
        later = self.block_and_later
        if not all(block._gives_a_tuple is not None and block.state.is_unchanged() for block in later):
            return False
        run.key = given.key(self.layer)
        run.end = run.ends.find(run.key)
        if run.end is not None:
            run.end = run.end.to(given.tensors[0].device)
        return run.end is not None

    def _end(self) -> Tensor | tuple[Tensor]:
        """The run's end, in the form in which the model gets it from this block."""
        return (self._run.end,) if self._gives_a_tuple else self._run.end

    def _note_end(self, result: object) -> None:
        """Note in which form the block gave its result and, of the last block, the result."""
        is_tuple_of_one = isinstance(result, tuple) and len(result) == 1
        residual = result[0] if is_tuple_of_one else result
        if type(residual) is Tensor:
            self._gives_a_tuple = is_tuple_of_one
            if self._run.key and len(self.block_and_later) == 1:
                self._run.ends.note(self._run.key, residual)


def _copied(value: object) -> object:
    """A copy of tensors and of groups; anything else is itself."""
    if isinstance(value, tuple | list):
        return type(value)(map(_copied, value))
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return value.clone() if isinstance(value, Tensor) else value
