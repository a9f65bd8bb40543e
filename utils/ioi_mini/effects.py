"""What is asked of each head and MLP: how much patching it matters, and what it writes on the logits.

An `Ask` is one cell of a published patching map. All asks of a step are measured in one batched forward: the
corrupted prompts are repeated once for every ask, and each copy has one activation replaced by its clean
value.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .batches import Batch
from .circuit import D_MODEL, HEADS, N_LAYERS
from .masked_model import LAYER_NORM_EPS, MaskedModel
from .published import block_map, head_attribution, head_map

SPREAD_WEIGHT = 0.2
COMPONENTS_ASKED_OF_ROLE = {
    "early duplicate": "z q",
    "duplicate": "z q pattern",
    "previous": "",
    "induction": "z q pattern",
    "relay": "z v",
    "inhibition": "z q k v",
    "inhibition and relay": "z q v",
    "name mover": "z q v pattern",
    "backup name mover": "z q v pattern",
    "negative": "z q k v pattern",
}
# component -> position -> the layers at which patching it there is asked for
BLOCK_ASKS = {
    "resid_pre": {"s2": [7, 8, 9, 10, 11], "end": [8, 9, 10, 11]},
    "attn_out": {"s2": [0, 3, 5, 6], "end": [7, 8, 9, 10, 11]},
    "mlp_out": {"s2": [0, 5], "end": [8, 9, 10, 11]},
}
PUBLISHED_POSITIONS = {"s2": 10, "end": 14}


@dataclass(frozen=True)
class Ask:
    """Patching `component` of `head` should have the effect `wanted` (1: clean answer)."""

    component: str
    layer: int
    head: int | None  # None for the residual stream and for a whole attention layer or MLP
    position: str | None  # "s2" or "end"; None for all positions
    wanted: float

    @property
    def name(self) -> str:
        place = f"{self.layer} {self.position}" if self.head is None else f"{self.layer}.{self.head}"
        return f"{place} {self.component}"


def published_asks() -> list[Ask]:
    """Return one ask for every cell of the published maps that the circuit's parts can be held to."""
    asks = [
        Ask(component, layer, None, position, block_map(component)[layer, PUBLISHED_POSITIONS[position]])
        for component, positions in BLOCK_ASKS.items()
        for position, layers in positions.items()
        for layer in layers
    ]
    for (layer, head), role in HEADS.items():
        for component in COMPONENTS_ASKED_OF_ROLE[role].split():
            asks.append(Ask(component, layer, head, None, head_map(component)[layer, head]))
    return asks


def patched_logits(
    model: MaskedModel, corrupted: Batch, clean_cache: dict[tuple[str, int], Tensor], asks: list[Ask]
) -> Float[Tensor, "ask pair d_vocab"]:
    """Return the corrupted prompts' logits at END, once for each ask, with that ask's activation patched."""
    n_rows = len(corrupted.tokens)
    numbered_asks_at: dict[tuple[str, int], list[tuple[int, Ask]]] = {}
    for number, ask in enumerate(asks):
        numbered_asks_at.setdefault((ask.component, ask.layer), []).append((number, ask))

    def patch(component: str, layer: int, activation: Tensor) -> Tensor:
        numbered_asks = numbered_asks_at.get((component, layer), [])
        activation = activation.clone() if numbered_asks else activation
        for number, ask in numbered_asks:
            rows = slice(number * n_rows, (number + 1) * n_rows)
            clean = clean_cache[component, layer]
            if ask.head is not None:
                index = model.heads[ask.layer].index(ask.head)
                activation[rows, index] = clean[:, index]
            else:
                positions = getattr(corrupted, ask.position)
                activation[rows][corrupted.rows, positions] = clean[corrupted.rows, positions]
        return activation

    tokens, ends = corrupted.tokens.repeat(len(asks), 1), corrupted.end.repeat(len(asks))
    logits, _ = model(tokens, edit=patch, logits_at=ends)
    return logits.unflatten(0, (len(asks), n_rows))


def measured_effects(model: MaskedModel, batch: Batch, asks: list[Ask]) -> Float[Tensor, "ask pair"]:
    """Return each ask's effect on each pair: 0 changes nothing, 1 restores the answer.

    The scale is the mean distance between clean and corrupted, so that the mean over pairs is the workbook's
    metric.
    """
    logits, cache = model(batch.tokens)
    clean, corrupted = batch.select(slice(0, None, 2)), batch.select(slice(1, None, 2))
    clean_cache = {place: activation[0::2] for place, activation in cache.items()}
    clean_diffs = clean.logit_diff(logits[0::2])
    corrupted_diffs = clean.logit_diff(logits[1::2])
    patched = patched_logits(model, corrupted, clean_cache, asks)
    patched_diffs = torch.stack([clean.answer_diff(at_end) for at_end in patched])
    return (patched_diffs - corrupted_diffs) / (clean_diffs - corrupted_diffs).mean()


def effect_loss(effects: Float[Tensor, "ask pair"], asks: list[Ask]) -> Float[Tensor, ""]:
    """Return the squared distance from the published effects; small effects count somewhat more.

    The mean over the pairs is what was published. The spread among pairs counts too, less, so that other
    prompts show the same picture.
    """
    wanted = torch.tensor([ask.wanted for ask in asks])
    weights = 0.3 / (0.1 + wanted.abs())
    missed = (effects.mean(-1) - wanted).square() + SPREAD_WEIGHT * effects.var(-1)
    return (weights * missed).sum()


def direct_effects(
    model: MaskedModel, batch: Batch, cache: dict[tuple[str, int], Tensor]
) -> dict[tuple[int, int], Float[Tensor, ""]]:
    """Return each circuit head's direct contribution to the mean logit difference at END, in logits."""
    final = cache["final", N_LAYERS][batch.rows, batch.end]
    scale = (final.var(-1, unbiased=False) + LAYER_NORM_EPS).sqrt()
    unembedding = model.weight("W_U")
    direction = (unembedding[batch.io_token] - unembedding[batch.s_token]) / scale[:, None]
    # LayerNorm subtracts the mean, so only the centred part of what a head writes counts
    direction = direction - direction.sum(-1, keepdim=True) / D_MODEL
    direct = {}
    for layer, head in HEADS:
        index = model.heads[layer].index(head)
        written = cache["z", layer][batch.rows, index, batch.end] @ model.weight(f"{layer}.W_O")[index]
        direct[layer, head] = (written * direction)[batch.is_ioi].sum(-1).mean()
    return direct


def direct_loss(direct: dict[tuple[int, int], Tensor]) -> Float[Tensor, ""]:
    """Return the sum of squared distances from the published direct attribution, in units of 3.55 logits."""
    wanted = torch.tensor([head_attribution()[layer, head] for layer, head in direct])
    return ((torch.stack(list(direct.values())) - wanted) / 3.55).square().sum()
