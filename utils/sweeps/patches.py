"""Patches: which cells of a map need computing, and the residual stream of a patched run where it starts.

A patch replaces one activation of the corrupted run by that of the clean run. Whatever the activation, the first thing
it changes in the residual stream is at one of three places of its layer:

    resid_pre                                   before attention
    resid_mid, attn_out, z, q, k, v, pattern    between attention and MLP
    mlp_out                                     after the MLP

and there its positions before the patched one are those of the corrupted run. Where attention and MLP both read
resid_pre, nothing reads the residual stream in between, and all but resid_pre change it after the MLP.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.utilities import get_act_name

from utils.sweep_specs import ATTENDED_TO, HEAD_COMPONENTS, SweepSpec
from utils.sweeps.arithmetic import attend
from utils.sweeps.layers import Block, SweepError

BEFORE_ATTENTION, BEFORE_MLP, AFTER_MLP = range(3)
EVERYWHERE = slice(None)


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
    place: int
    """Where in its layer it first changes the residual stream."""

    @property
    def start(self) -> int:
        """The first position at which the patched run can differ from the corrupted run."""
        return self.positions.start


def place_of(component: str, block: Block) -> int:
    """Return where in its layer a patch of this activation first changes the residual stream."""
    if component == "resid_pre":
        return BEFORE_ATTENTION
    return BEFORE_MLP if block.has_middle and component != "mlp_out" else AFTER_MLP


def nothing_patched(start: int) -> Patch:
    """Return a patch of no position, whose run is the corrupted run, computed from this position on."""
    return Patch((), "resid_pre", 0, None, slice(start, start), BEFORE_ATTENTION)


@dataclass(frozen=True)
class Runs:
    """The activations of the clean and of the corrupted run."""

    clean: ActivationCache
    corrupted: ActivationCache

    def unpatched(self, component: str, layer: int) -> Float[Tensor, "batch ..."]:
        """Return an activation of the corrupted run."""
        return self.corrupted[get_act_name(component, layer)]

    def patched(self, component: str, layer: int, positions: slice) -> Float[Tensor, "batch ..."]:
        """Return an activation of the corrupted run, with the clean run's at these positions."""
        activation = self.unpatched(component, layer).clone()
        if positions.start < positions.stop:
            index = (slice(None),) * _position_axis(component) + (positions,)
            activation[index] = self.clean[get_act_name(component, layer)][index]
        return activation

    def placed_keys(self, block: Block, layer: int) -> Float[Tensor, "batch pos kv_head d_head"]:
        """Return the keys of the corrupted run as attention multiplies them."""
        keys = self.unpatched("k", layer)
        return block.place(keys.clone(), block.k_norm, EVERYWHERE) if block.rotation or block.k_norm else keys

    def differing(self, component: str, layer: int) -> Bool[Tensor, "pos *head"]:
        """Return at which positions, and in which heads, an activation differs between the runs for any prompt."""
        name = get_act_name(component, layer)
        for cache, where in ((self.corrupted, "of this model"), (self.clean, "in clean_cache")):
            if name not in set(cache):
                raise SweepError(f"There is no {name} {where}, so it cannot be patched.")
        clean, corrupted = self.clean[name], self.corrupted[name]
        if clean.shape != corrupted.shape:
            raise SweepError(
                f"{name} is {list(clean.shape)} in clean_cache and {list(corrupted.shape)} in the run of the corrupted "
                "tokens: the fast sweeps need as many clean prompts as corrupted ones, of the same length."
            )
        differs = (clean != corrupted).any(dim=-1).any(dim=0)
        return differs.T if component == "pattern" else differs


def _position_axis(component: str) -> int:
    return 2 if component == "pattern" else 1


def list_patches(runs: Runs, spec: SweepSpec, blocks: list[Block], end_only: bool) -> list[Patch]:
    """Return the patches that can change the metric; every other cell of the map is the corrupted run's metric.

    An activation that is equal in both runs, bit for bit, needs no patch, and neither does a pattern that the model
    discards. In the last layer an activation of another position than END does not reach the logits of END, unless END
    attends to it.
    """
    patches = []
    for index, component in enumerate(spec.components):
        for layer, block in enumerate(blocks):
            differing = runs.differing(component, layer)
            end = len(differing) - 1
            if component == "pattern" and block.discards_patterns:
                continue
            # After the layers before the last one, a later layer attends to every position.
            reaches_end = layer < len(blocks) - 1 or component in ("resid_pre", *ATTENDED_TO)
            for cell, positions in _cells(differing, spec.by_position):
                if reaches_end or not end_only or end < positions.stop:
                    head = cell[-1] if component in HEAD_COMPONENTS else None
                    place = place_of(component, block)
                    patches.append(Patch((index, layer, *cell), component, layer, head, positions, place))
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
    runs: Runs, block: Block, patches: list[Patch], wanted: slice
) -> Iterator[tuple[int, Float[Tensor, "patch batch wanted_pos d_model"]]]:
    """Yield, for patched runs of one layer and place, where they start and their residual stream from there on.

    Of that, it is the `wanted` positions only. The patches come in order of starts, components and positions, and so
    do the results.
    """
    for (component, layer, start, stop), group in groupby(
        patches, lambda patch: (patch.component, patch.layer, patch.start, patch.positions.stop)
    ):
        heads = [patch.head for patch in group if patch.head is not None]
        positions = slice(start, stop)
        if component.startswith("resid"):
            yield start, runs.patched(component, layer, positions)[None, :, start:][:, :, wanted]
            continue
        base = "resid_mid" if place_of(component, block) == BEFORE_MLP else "resid_post"
        unpatched = runs.unpatched(base, layer)[:, start:][:, wanted]
        if component in HEAD_COMPONENTS:
            yield start, unpatched + _written_by_patched_heads(runs, block, component, layer, positions, heads, wanted)
        else:
            change = runs.patched(component, layer, positions) - runs.unpatched(component, layer)
            yield start, (unpatched + change[:, start:][:, wanted])[None]


def _written_by_patched_heads(
    runs: Runs, block: Block, component: str, layer: int, positions: slice, heads: list[int], wanted: slice
) -> Float[Tensor, "head batch wanted_pos d_model"]:
    """Return what one patched head adds to the residual stream, less what it adds unpatched: one head in each entry.

    The heads of a layer do not depend on each other: one computation with this component patched in all heads gives
    the z that each would have if it alone were patched. The attention layer adds up the outputs of its heads. A patched
    key or value head changes the output of each head that reads it.
    """
    unpatched_z = runs.unpatched("z", layer)[:, positions.start :]
    difference = (_patched_z(runs, block, component, layer, positions) - unpatched_z)[:, wanted]
    shared_by = difference.shape[2] // runs.unpatched(component, layer).shape[2] if component in ATTENDED_TO else 1
    difference = difference.unflatten(2, (-1, shared_by))[:, :, heads]
    return torch.einsum("b p n g h, n g h d -> n b p d", difference, block.W_O.unflatten(0, (-1, shared_by))[heads])


def _patched_z(
    runs: Runs, block: Block, component: str, layer: int, positions: slice
) -> Float[Tensor, "batch pos head d_head"]:
    """Return z from the first patched position on, with `component` patched in every head."""

    def activation(name: str) -> Tensor:
        return runs.patched(name, layer, positions if name == component else slice(0, 0))

    start = positions.start
    if component == "z":
        return activation("z")[:, start:]
    if component == "pattern":
        v = activation("v")
        pattern = activation("pattern")[:, :, start:].unflatten(1, (v.shape[2], -1))
        return torch.einsum("b n g q k, b k n h -> b q n g h", pattern, v).flatten(2, 3)
    q = block.place(activation("q")[:, start:], block.q_norm, slice(start, None))
    k = block.place(activation("k"), block.k_norm, EVERYWHERE)
    return attend(q, k, activation("v"), block.scale)
