"""Final residual streams by the input of an earlier block.

From a block on, a run depends only on the input of that block, as long as no hook follows. A right sweep comes to the
same residual stream after each patch as `transformer_lens.patching`, bit for bit; so the rest of each of its runs, the
suffix, need not be computed again.
"""

import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

MAX_BYTES = 256 * 2**20
"""The largest size of the residual streams cached for one sweep; those of gpt2-small take 60 MB at most."""
SIMPLE_TYPES = {bool, int, float, str, type(None)}

_KEYS, _RESIDUALS = "keys", "residuals"


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
                residuals = opened.get_slice(_RESIDUALS)
                for row, key in enumerate(opened.get_tensor(_KEYS)):
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
        save_file({_KEYS: keys, _RESIDUALS: residuals}, file)
