"""Memoized forward passes: what the patched runs of one sweep have in common is computed once.

The prefix of a run, before the patched block, is the same in every run of a sweep; and where a patch changes nothing,
so is all that follows. Inside `memoized_forward`, a block whose inputs equal its last ones returns its last outputs:
the numbers that computing it again would give, bit for bit, in a fraction of the time.

From a block on, a run depends only on the input of that block, as long as no hook follows. A right sweep comes to the
same residual stream after each patch as `transformer_lens.patching`, bit for bit; so the suffix of each of its runs,
the blocks after the patch, need not be computed again where a `SuffixCache` has its final residual stream.
"""

import contextlib
import functools
import hashlib
import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook as has_any_global_hook
from transformer_lens.model_bridge import TransformerBridge

MAX_BYTES = 256 * 2**20
"""The largest size of the residual streams cached for one sweep; those of gpt2-small take 60 MB at most."""
SIMPLE_TYPES = {bool, int, float, str, type(None)}
# Read in every run, so without a line of Python for each module.
MODULES_AND_HOOKS = operator.itemgetter("_modules", "_forward_hooks", "_forward_pre_hooks")
MODE = operator.itemgetter("training")
OWN_FORWARD = operator.methodcaller("get", "forward")
VERSION = operator.attrgetter("_version")
"""torch's count of in-place changes of a tensor."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The inputs or outputs of a block, to be compared, copied and hashed in microseconds."""

    structure: tuple
    """Types, simple values, and the shape, type and device of each tensor."""
    tensors: list[Tensor]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Snapshot)
            and self.structure == other.structure
            and all(map(torch.equal, self.tensors, other.tensors))
        )

    def clone(self) -> "Snapshot":
        """Return the same with tensors of its own."""
        return Snapshot(self.structure, [tensor.clone() for tensor in self.tensors])

    def key(self, layer: int) -> bytes:
        """Return a hash of these inputs for the block of this layer."""
        digest = hashlib.blake2b(repr((layer, self.structure)).encode(), digest_size=32)
        for tensor in self.tensors:
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.digest()


def take_snapshot(value: object) -> Snapshot | None:
    """Describe tensors without a gradient, simple values, and groups of these; None where there is anything else."""
    tensors: list[Tensor] = []
    structure = _structure(value, tensors)
    return None if structure is None else Snapshot(structure, tensors)


def _structure(value: Any, tensors: list[Tensor]) -> tuple | None:
    """Describe a value without the numbers of its tensors, which are added to the list."""
    kind = type(value)
    if kind is Tensor:
        tensors.append(value)
        return None if value.requires_grad else (kind, value.shape, value.dtype, value.device)
    if kind in SIMPLE_TYPES:
        return kind, value
    if kind is tuple or kind is list:
        inner = [_structure(each, tensors) for each in value]
    elif kind is dict:
        inner = [_structure(list(value), tensors), *[_structure(each, tensors) for each in value.values()]]
    else:
        return None
    return None if None in inner else (kind, *inner)


class SuffixCache:
    """Residual streams after the last block, by the key of an earlier block's inputs."""

    def __init__(self, files: Iterable[Path] | None = None) -> None:
        """Read these files, leaving out what is missing or corrupt; without any, begin an empty cache to be filled."""
        self._added: dict[bytes, Float[Tensor, "batch pos d_model"]] = {}
        self._bytes_left = MAX_BYTES if files is None else 0
        self._on_disk: dict[bytes, tuple[Any, int]] = {}
        for file in files or ():
            with contextlib.suppress(OSError, SafetensorError):
                # The file stays open: there are hundreds of residual streams, and each is read when it is wanted.
                opened = safe_open(file, framework="pt")
                residuals = opened.get_slice("residuals")
                for row, key in enumerate(opened.get_tensor("keys")):
                    self._on_disk[bytes(key.tolist())] = residuals, row

    def __len__(self) -> int:
        return len(self._added | self._on_disk)

    def find(self, key: bytes) -> Float[Tensor, "batch pos d_model"] | None:
        """Return a copy of a residual stream, on the CPU; None where the cache has none."""
        if key in self._added:
            return self._added[key].clone()
        if key in self._on_disk:
            residuals, row = self._on_disk[key]
            return residuals[row].clone()  # not a view of the file in memory
        return None

    def add(self, key: bytes, residual: Float[Tensor, "batch pos d_model"]) -> None:
        """Add the final residual stream of a run, as long as there is room. A cache that was read takes no more."""
        if key not in self._added and residual.nbytes <= self._bytes_left:
            self._added[key] = residual.detach().cpu().clone()
            self._bytes_left -= residual.nbytes

    def write(self, file: Path) -> None:
        """Write all that was added into a file, even if it is nothing. The residual streams must be of one shape."""
        keys = torch.tensor([list(key) for key in self._added], dtype=torch.uint8)
        residuals = torch.stack(list(self._added.values())) if self._added else torch.empty(0)
        save_file({"keys": keys, "residuals": residuals}, file)


@contextlib.contextmanager
def memoized_forward(model: TransformerBridge, suffix_cache: SuffixCache | None = None) -> Iterator[None]:
    """Memoize the model's embedding, blocks and unembedding until the context ends.

    Hooks work as usual: a block with a hook is computed, as far as the hook reaches. The model must have been run
    once, for its first run adds hooks of its own. `suffix_cache` is searched after the last block with a hook, and
    filled there.
    """
    parts = list(_parts(model))
    inside = {module for part in parts for module in part.modules()}
    containers = ModuleState([*{*model.modules(), *model.original_model.modules()} - inside])
    run = ForwardPass(suffix_cache, containers)
    with contextlib.ExitStack() as stack:
        config = getattr(model.original_model, "config", None)
        if getattr(config, "use_cache", False):
            # With keys and values cached for generating text, no two runs would have equal inputs.
            stack.enter_context(mock.patch.object(config, "use_cache", False))
        for module in parts:
            forward = MemoizedForward(module, run)
            _replace_forward(module, forward, stack)
            forward.state.save()
        blocks = [vars(block)["forward"] for block in model.blocks]
        for layer, block in enumerate(blocks):
            block.layer, block.block_and_later = layer, blocks[layer:]
        _replace_forward(model, run.wrap(model.forward), stack)
        containers.save()
        yield


def _replace_forward(module: nn.Module, forward: Callable, stack: contextlib.ExitStack) -> None:
    # Not by setattr, which for a part of transformer_lens changes the library's part inside it.
    vars(module)["forward"] = forward
    stack.callback(vars(module).pop, "forward", None)


def _parts(model: TransformerBridge) -> Iterator[nn.Module]:
    """Yield the model's blocks, and the modules before and after them.

    A block of transformer_lens runs the one of the library that the model comes from. The first has the hook points at
    its beginning and its end, the second all others; it is called where the first has a hook.
    """
    for part in model.children():
        if part is model.blocks:
            yield from (block.original_component for block in part)
            yield from part
        else:
            yield part


class ModuleState:
    """The submodules, hooks, modes and settings of some modules, and how often their weights were changed."""

    def __init__(self, modules: list[nn.Module], settings_of: nn.Module | None = None) -> None:
        self._tables = [vars(module) for module in modules]
        self._settings = vars(settings_of) if settings_of else {}
        self._weights = [each for module in modules for each in (*module.parameters(False), *module.buffers(False))]

    def save(self) -> None:
        """Save the state that memoizing assumes."""
        self._saved = _clone(self._current())  # a copy, for the tables themselves may change

    def is_unchanged(self) -> bool:
        """Return whether the state is the saved one, and the outputs depend on the inputs alone."""
        # In training mode, modules may draw random numbers.
        return self._current() == self._saved and True not in self._saved[1] and not has_any_global_hook()

    def _current(self) -> tuple:
        return (
            list(map(MODULES_AND_HOOKS, self._tables)),
            list(map(MODE, self._tables)),
            list(map(OWN_FORWARD, self._tables)),
            list(map(VERSION, self._weights)),
            # Such as the block at which a run is to stop.
            {name: value for name, value in self._settings.items() if type(value) in SIMPLE_TYPES},
        )


class ForwardPass(threading.local):
    """How far a run of the whole model has come; each thread has its own."""

    is_whole = False
    """Whether the model was called to run from its beginning to its end."""
    depth = 0
    """How many parts are being computed, one inside another. A hook's code runs at a depth of 1 or more."""
    key = b""
    """The key of the inputs of the first block after the last hook; empty before its turn."""
    final_residual: Tensor | None = None
    """The residual stream after the last block, if it was found in the suffix cache."""

    def __init__(self, suffix_cache: SuffixCache | None, containers: ModuleState) -> None:
        self.suffix_cache = suffix_cache
        self._containers = containers
        """The state of the modules that only hold the parts together."""

    def wrap(self, forward: Callable) -> Callable:
        """Return the model's `forward`, which sets `is_whole` while it runs."""

        @functools.wraps(forward)
        def run(*args, **kwargs):
            # An argument such as stop_at_layer asks for something other than a whole run.
            others = {name for name, value in kwargs.items() if value is not None} - {"input", "return_type"}
            if self.is_whole or others or len(args) > 1 or not self._containers.is_unchanged():
                return forward(*args, **kwargs)
            self.is_whole = True
            try:
                return forward(*args, **kwargs)
            finally:
                self.is_whole, self.key, self.final_residual = False, b"", None

        return run

    @property
    def is_between_parts(self) -> bool:
        """Whether the current part was called by the model itself, in a run of the whole model."""
        return self.is_whole and self.depth == 1


class MemoizedForward:
    """A module's `forward` that caches its last inputs and outputs, and returns the outputs again for equal inputs.

    While the state of the module is not the saved one, it is computed, and nothing is cached.
    """

    layer: int | None = None
    """The layer, of a block."""
    block_and_later: Sequence["MemoizedForward"] = ()

    def __init__(self, module: nn.Module, run: ForwardPass) -> None:
        self._forward = module.forward
        self._run = run
        self.state = ModuleState(list(module.modules()), settings_of=module)
        self._last: tuple[Snapshot, Any] | None = None
        """Inputs and outputs, in one tuple, so that another thread finds both or none."""
        self._returns_tuple: bool | None = None
        """Whether the block returns the residual stream in a tuple; None before its first run."""

    def __call__(self, *args, **kwargs):
        self._run.depth += 1
        try:
            return self._call(args, kwargs)
        finally:
            self._run.depth -= 1

    def _call(self, args: tuple, kwargs: dict) -> object:
        if self._is_in_found_suffix(args):
            return self._final_output()
        inputs, last = take_snapshot((args, kwargs)), self._last
        if inputs is None or not self.state.is_unchanged():
            return self._forward(*args, **kwargs)
        if last and last[0] == inputs:
            return _clone(last[1])
        if self._finds_suffix(inputs):
            return self._final_output()
        inputs = inputs.clone()  # before a hook can write into them
        output = self._forward(*args, **kwargs)
        self._last = (inputs, _clone(output)) if take_snapshot(output) else None
        if self._run.is_between_parts:
            self._add_suffix(output)
        return output

    def _is_in_found_suffix(self, args: tuple) -> bool:
        """Return whether this block only passes the final residual stream on."""
        run = self._run
        found = run.final_residual is not None and self.layer is not None and run.is_between_parts
        return found and args[0] is run.final_residual

    def _finds_suffix(self, inputs: Snapshot) -> bool:
        """Search the suffix cache, at the first block from which on no block has a hook."""
        run = self._run
        if run.suffix_cache is None or self.layer is None or run.key or not run.is_between_parts:
            return False
        if not all(block._returns_tuple is not None and block.state.is_unchanged() for block in self.block_and_later):
            return False
        run.key = inputs.key(self.layer)
        found = run.suffix_cache.find(run.key)
        run.final_residual = None if found is None else found.to(inputs.tensors[0].device)
        return run.final_residual is not None

    def _final_output(self) -> Any:
        """Return the final residual stream as this block would."""
        return (self._run.final_residual,) if self._returns_tuple else self._run.final_residual

    def _add_suffix(self, output: object) -> None:
        """Note in which form the block returns the residual stream and, after the last block, add that to the cache."""
        is_tuple = isinstance(output, tuple) and len(output) == 1
        residual = output[0] if isinstance(output, tuple) and is_tuple else output
        if type(residual) is Tensor:
            self._returns_tuple = is_tuple
            if self._run.suffix_cache is not None and self._run.key and len(self.block_and_later) == 1:
                self._run.suffix_cache.add(self._run.key, residual)


def _clone(value: Any) -> Any:
    """Copy tensors and groups of them; anything else is returned itself."""
    if isinstance(value, tuple | list):
        return type(value)(map(_clone, value))
    if isinstance(value, dict):
        return {key: _clone(each) for key, each in value.items()}
    return value.clone() if isinstance(value, Tensor) else value
