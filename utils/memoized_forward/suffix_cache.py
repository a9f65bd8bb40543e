"""Ends of runs that are known: what the last block of a model gave, by what a block before it had been given.

From a block on, a run depends on nothing but what that block is given, as long as no hook is in its way. Who patches as
`transformer_lens.patching` does, on the same model and prompts, comes to the same residual stream after the patched
block, bit by bit; so the rest of that run need not be computed again.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

MOST_BYTES = 256 * 2**20
"""How much of what the last block gave is kept of one sweep; of gpt2-small's, it is 60 MB at most."""

_KEYS, _RESIDUALS = "keys", "residuals"


class KnownEnds:
    """Residual streams after the last block, by what an earlier block was given."""

    def __init__(self, files: Iterable[Path] | None = None) -> None:
        """Those kept in files, of which a missing or damaged one has none; without any, those that will be noted."""
        self._noted: dict[bytes, Float[Tensor, "batch pos d_model"]] = {}
        self._room = MOST_BYTES if files is None else 0
        self._kept: dict[bytes, tuple[object, int]] = {}
        for file in files or ():
            with contextlib.suppress(OSError, SafetensorError):
                # It stays open: a residual stream is read when it is asked for, and there are hundreds.
                opened = open_ends(file)
                residuals = opened.get_slice(_RESIDUALS)
                for row, key in enumerate(opened.get_tensor(_KEYS)):
                    self._kept[bytes(key.tolist())] = residuals, row

    def __len__(self) -> int:
        return len(self._noted | self._kept)

    def find(self, key: bytes) -> Float[Tensor, "batch pos d_model"] | None:
        """A residual stream of its own for the caller, on the CPU; None where the end of the run is not known."""
        if key in self._noted:
            return self._noted[key].clone()
        if key in self._kept:
            residuals, row = self._kept[key]
            return residuals[row].clone()  # not a view of the file in memory
        return None

    def note(self, key: bytes, residual: Float[Tensor, "batch pos d_model"]) -> None:
        """Note where a run ended, as long as there is room. Where files were read, there is none."""
        if key not in self._noted and residual.nbytes <= self._room:
            self._noted[key] = residual.detach().cpu().clone()
            self._room -= residual.nbytes

    def write(self, file: Path) -> None:
        """Write what was noted into a file, even if it is nothing. The residual streams must be of one shape."""
        keys = torch.tensor([list(key) for key in self._noted], dtype=torch.uint8)
        residuals = torch.stack(list(self._noted.values())) if self._noted else torch.empty(0)
        save_file({_KEYS: keys, _RESIDUALS: residuals}, file)


def open_ends(file: Path) -> safe_open:
    """A file that was written so, open. Raises `OSError` or `SafetensorError` where it is missing or damaged."""
    return safe_open(file, framework="pt")
