"""Patches: which cells of a map need computing, and the residual stream of a patched run where it starts.

A patch replaces one activation of the corrupted run by that of the clean run. Whatever the activation, the first thing
it changes in the residual stream is at one of three places of its layer:

    resid_pre                                   before attention
    resid_mid, attn_out, z, q, k, v, pattern    between attention and MLP
    mlp_out                                     after the MLP

and there its positions before the patched one are those of the corrupted run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.utilities import get_act_name

from utils.sweep_specs import HEAD_COMPONENTS, SweepSpec
from utils.sweeps.arithmetic import Block, SweepError, attend

BEFORE_ATTENTION, BEFORE_MLP, AFTER_MLP = range(3)
# Keys and values act on every position after their own; all other activations act on their own position.
ATTENDED_TO = ("k", "v")


@dataclass(frozen=True)
class Patch:
    """One patched run: one cell of a map."""

    cell: tuple[int, ...]
    """Where in the result the metric of this run belongs."""
    component: str
    layer: int
    head: int | None
    positions: slice
    """The positions that are patched, from the first one whose activation differs between the runs."""

    @property
    def start(self) -> int:
        """The first position at which the patched run can differ from the corrupted run."""
        return self.positions.start

    @property
    def place(self) -> int:
        """Where in its layer it first changes the residual stream."""
        return {"resid_pre": BEFORE_ATTENTION, "mlp_out": AFTER_MLP}.get(self.component, BEFORE_MLP)


@dataclass(frozen=True)
class Runs:
    """The activations of the clean and of the corrupted run."""

    clean: ActivationCache
    corrupted: ActivationCache

    def unpatched(self, component: str, layer: int) -> Float[Tensor, "batch ..."]:
        """Return an activation of the corrupted run."""
        return self.corrupted[get_act_name(component, layer)]

    def patched(self, component: str, layer: int, swept: str, positions: slice) -> Float[Tensor, "batch ..."]:
        """Return an activation of the corrupted run, with the clean run's at `positions` if it is the swept one."""
        if component != swept:
            return self.unpatched(component, layer)
        activation = self.unpatched(component, layer).clone()
        position_axis = 2 if component == "pattern" else 1
        index = (slice(None),) * position_axis + (positions,)
        activation[index] = self.clean[get_act_name(component, layer)][index]
        return activation

    def differing(self, component: str, layer: int) -> Bool[Tensor, "pos *head"]:
        """Return at which positions, and in which heads, an activation differs between the runs for any prompt."""
        name = get_act_name(component, layer)
        clean, corrupted = self.clean[name], self.unpatched(component, layer)
        if clean.shape != corrupted.shape:
            raise SweepError(
                f"{name} is {list(clean.shape)} in clean_cache and {list(corrupted.shape)} in the run of the corrupted "
                "tokens: the fast sweeps need as many clean prompts as corrupted ones, of the same length."
            )
        differs = (clean != corrupted).any(dim=-1).any(dim=0)
        return differs.T if component == "pattern" else differs


def list_patches(runs: Runs, spec: SweepSpec, n_layers: int, end_only: bool) -> list[Patch]:
    """Return the patches that can change the metric; every other cell of the map is the corrupted run's metric.

    An activation that is equal in both runs, bit for bit, needs no patch. In the last layer an activation of another
    position than END does not reach the logits of END, unless END attends to it.
    """
    patches = []
    for index, component in enumerate(spec.components):
        for layer in range(n_layers):
            differing = runs.differing(component, layer)
            end = len(differing) - 1
            # After the layers before the last one, a later layer attends to every position.
            reaches_end = layer < n_layers - 1 or component in ("resid_pre", *ATTENDED_TO)
            for cell, positions in _cells(differing, spec.by_position):
                if reaches_end or not end_only or end < positions.stop:
                    head = cell[-1] if component in HEAD_COMPONENTS else None
                    patches.append(Patch((index, layer, *cell), component, layer, head, positions))
    return patches


def _cells(differing: Bool[Tensor, "pos *head"], by_position: bool) -> Iterator[tuple[tuple[int, ...], slice]]:
    """Yield the cells of one component and layer in which something is patched, and the positions patched."""
    if by_position:
        for cell in differing.nonzero().tolist():
            yield tuple(cell), slice(cell[0], cell[0] + 1)
        return
    for head, differs in enumerate(differing.T.tolist()):
        if any(differs):
            yield (head,), slice(differs.index(True), len(differs))


def patched_residuals(
    runs: Runs, block: Block, patches: list[Patch]
) -> Iterator[Float[Tensor, "patch batch pos d_model"]]:
    """Yield the residual stream of patched runs of one layer and place, from their first patched position on.

    The patches come in order of components, and so do the results.
    """
    for (component, layer, start, stop), group in groupby(
        patches, lambda patch: (patch.component, patch.layer, patch.start, patch.positions.stop)
    ):
        heads = [patch.head for patch in group if patch.head is not None]
        if component in HEAD_COMPONENTS:
            yield _with_patched_heads(runs, block, component, layer, slice(start, stop), heads)
        else:
            yield _with_patched_layer(runs, component, layer, slice(start, stop)).unsqueeze(0)


def _with_patched_layer(runs: Runs, component: str, layer: int, positions: slice) -> Float[Tensor, "batch pos d_model"]:
    """Return the residual stream right after a residual stream, or the output of a whole layer, is patched."""
    patched = runs.patched(component, layer, component, positions)
    if component == "attn_out":
        patched = runs.unpatched("resid_pre", layer) + patched
    if component == "mlp_out":
        patched = runs.unpatched("resid_mid", layer) + patched
    return patched[:, positions.start :]


def _with_patched_heads(
    runs: Runs, block: Block, component: str, layer: int, positions: slice, heads: list[int]
) -> Float[Tensor, "head batch pos d_model"]:
    """Return resid_mid with one head patched in each entry.

    The heads of a layer do not depend on each other: one computation with this component patched in all heads gives
    the z that each would have if it alone were patched. The attention layer adds up the outputs of its heads, so a
    patched head adds its new output and subtracts its old one.
    """
    start = positions.start
    patched_z = _patched_z(runs, component, layer, positions)
    difference = (patched_z - runs.unpatched("z", layer)[:, start:])[:, :, heads]
    writes = torch.einsum("b p n h, n h d -> n b p d", difference, block.W_O[heads])
    return runs.unpatched("resid_mid", layer)[:, start:] + writes


def _patched_z(runs: Runs, component: str, layer: int, positions: slice) -> Float[Tensor, "batch pos head d_head"]:
    """Return z from the first patched position on, with `component` patched in every head."""
    start = positions.start
    if component == "z":
        return runs.patched("z", layer, "z", positions)[:, start:]
    v = runs.patched("v", layer, component, positions)
    if component == "pattern":
        pattern = runs.patched("pattern", layer, "pattern", positions)[:, :, start:]
        return torch.einsum("b n q k, b k n h -> b q n h", pattern, v)
    q = runs.patched("q", layer, component, positions)[:, start:]
    k = runs.patched("k", layer, component, positions)
    return attend(q, k, v)
