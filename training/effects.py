"""What is asked of each head and MLP: how much patching it matters, and what it writes on the logits.

An `Ask` is one cell of a published patching map. All asks of a step are measured in one batch that grows from
layer to layer: each ask joins it at its own layer with a copy of the corrupted run, in which one activation is
replaced by its clean value.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from training.published_maps import published_map
from utils.published import published_attribution, published_results

from .batches import Batch
from .circuit import D_MODEL, HEADS, N_LAYERS
from .masked_model import LAYER_NORM_EPS, Cache, MaskedModel

PAIR_WEIGHT = 0.3
# The sixth and the seventh strongest z. They lie so close that only much weight on them puts them in the right order.
CLOSE_CALLS, CLOSE_CALL_WEIGHT = ("6.9 z", "7.3 z"), 6.0
CLOSENESS = 8.0  # how much more the closest names count than others
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
WRITERS = [place for place, role in HEADS.items() if role in ("name mover", "negative")]
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
        Ask(component, layer, None, position, published_map(component)[layer, PUBLISHED_POSITIONS[position]].item())
        for component, positions in BLOCK_ASKS.items()
        for position, layers in positions.items()
        for layer in layers
    ]
    for (layer, head), role in HEADS.items():
        for component in COMPONENTS_ASKED_OF_ROLE[role].split():
            asks.append(Ask(component, layer, head, None, published_map(component)[layer, head].item()))
    return asks


def patched_logits(
    model: MaskedModel, corrupted: Batch, corrupted_cache: Cache, clean_cache: Cache, asks: list[Ask]
) -> Float[Tensor, "ask pair d_vocab"]:
    """Return the corrupted prompts' logits at END, once for each ask, with that ask's activation patched.

    A patch changes nothing before its layer, so each ask joins there, with the corrupted run's residual stream.
    """
    n_rows = len(corrupted.tokens)
    in_joining_order = sorted(range(len(asks)), key=lambda number: asks[number].layer)
    residual = corrupted_cache["resid_pre", 0][:0]
    for layer in range(N_LAYERS):
        joining = [asks[number] for number in in_joining_order if asks[number].layer == layer]
        first_row = len(residual)
        residual = torch.cat([residual, *[corrupted_cache["resid_pre", layer]] * len(joining)])
        edit = partial(_patch, model, corrupted, clean_cache, joining, first_row)
        residual = model.run_block(layer, residual, {}, edit)
    at_end = residual.unflatten(0, (len(asks), n_rows))[:, corrupted.rows, corrupted.end]
    back_in_order = torch.tensor(in_joining_order).argsort()
    return model.unembed(at_end[back_in_order])


def _patch(
    model: MaskedModel,
    corrupted: Batch,
    clean_cache: Cache,
    asks: list[Ask],
    first_row: int,
    component: str,
    layer: int,
    activation: Tensor,
) -> Tensor:
    """Put clean values into the last rows of an activation, those of the asks that have just joined."""
    if all(ask.component != component for ask in asks):
        return activation
    activation, n_rows = activation.clone(), len(corrupted.tokens)
    for number, ask in enumerate(asks):
        if ask.component != component:
            continue
        rows = torch.arange(first_row + number * n_rows, first_row + (number + 1) * n_rows)
        clean = clean_cache[component, layer]
        if ask.head is not None:
            index = model.heads[layer].index(ask.head)
            activation[rows, index] = clean[:, index]
        else:
            positions = getattr(corrupted, ask.position)
            activation[rows, positions] = clean[corrupted.rows, positions]
    return activation


def measured_effects(
    model: MaskedModel, batch: Batch, asks: list[Ask]
) -> tuple[Float[Tensor, "ask pair"], Float[Tensor, " pair"]]:
    """Return each ask's effect on each pair, and the effect of patching everything, which is 1 on average.

    The scale is the mean distance between the clean and the corrupted logit difference, so that the mean over
    pairs is the workbook's metric.
    """
    logits, cache = model(batch.tokens)
    clean, corrupted = batch.select(slice(0, None, 2)), batch.select(slice(1, None, 2))
    clean_cache = {place: activation[0::2] for place, activation in cache.items()}
    corrupted_cache = {place: activation[1::2] for place, activation in cache.items()}
    clean_diffs = clean.logit_diff(logits[0::2])
    corrupted_diffs = clean.logit_diff(logits[1::2])
    patched = patched_logits(model, corrupted, corrupted_cache, clean_cache, asks)
    patched_diffs = torch.stack([clean.answer_diff(at_end) for at_end in patched])
    distances = clean_diffs - corrupted_diffs
    return (patched_diffs - corrupted_diffs) / distances.mean(), distances / distances.mean()


def effect_loss(
    effects: Float[Tensor, "ask pair"], whole: Float[Tensor, " pair"], asks: list[Ask], shares: Float[Tensor, " ask"]
) -> Float[Tensor, ""]:
    """Return the squared distance from the published effects; small effects count somewhat more.

    The mean over the pairs is what was published. Single pairs count too, less: in each, an effect should be
    the published part of the whole effect there. Then other prompts show the same picture.
    """
    wanted = torch.tensor([ask.wanted for ask in asks])
    close_calls = torch.tensor([CLOSE_CALL_WEIGHT if ask.name in CLOSE_CALLS else 1.0 for ask in asks])
    weights = shares * close_calls * 0.3 / (0.1 + wanted.abs())
    in_pairs = (effects - wanted[:, None] * whole).square().mean(-1)
    return (weights * ((effects.mean(-1) - wanted).square() + PAIR_WEIGHT * in_pairs)).sum()


def direct_effects(model: MaskedModel, batch: Batch, cache: Cache) -> Float[Tensor, "head ioi_prompt"]:
    """Return what each circuit head adds directly to each prompt's logit difference at END, in logits."""
    final = cache["final", N_LAYERS][batch.rows, batch.end]
    scale = (final.var(-1, unbiased=False) + LAYER_NORM_EPS).sqrt()
    unembedding = model.weight("W_U")
    direction = (unembedding[batch.io_token] - unembedding[batch.s_token]) / scale[:, None]
    # LayerNorm subtracts the mean, so only the centred part of what a head writes counts
    direction = direction - direction.sum(-1, keepdim=True) / D_MODEL
    direct = []
    for layer, head in HEADS:
        index = model.heads[layer].index(head)
        written = cache["z", layer][batch.rows, index, batch.end] @ model.weight(f"{layer}.W_O")[index]
        direct.append((written * direction)[batch.is_ioi].sum(-1))
    return torch.stack(direct)


def direct_loss(
    direct: Float[Tensor, "head ioi_prompt"], logit_diffs: Float[Tensor, " ioi_prompt"]
) -> Float[Tensor, ""]:
    """Return the squared distance from the published direct attribution, in units of the logit difference.

    As in `effect_loss`, the mean over prompts is what was published; in each prompt a head should add the
    published part of that prompt's logit difference.
    """
    wanted = torch.stack([published_attribution()[layer, head] for layer, head in HEADS])
    parts = wanted[:, None] / published_results()["clean_logit_diff"] * logit_diffs
    missed = (direct.mean(-1) - wanted).square() + PAIR_WEIGHT * (direct - parts).square().mean(-1)
    return missed.sum() / published_results()["clean_logit_diff"] ** 2


def overlap(vectors: Float[Tensor, "name d_model"]) -> Float[Tensor, ""]:
    """Return a smooth measure of how closely the closest vectors point the same way."""
    cosines = F.normalize(vectors, dim=-1) @ F.normalize(vectors, dim=-1).T
    return _log_mean_exp(CLOSENESS * _pairs(cosines))


def uneven_copying(model: MaskedModel, names: Int[Tensor, " name"]) -> Float[Tensor, ""]:
    """Return how unevenly the heads that write names copy them, averaged over these heads.

    For each two names: what copying a name adds to its own logit less what it adds to the other's, relative to the
    mean over all pairs. 16 dimensions cannot keep 161 names apart altogether, and where two overlap much, a
    prompt about them shows smaller effects in other proportions. So the pairs that overlap most count most.
    """
    embedding = model.weight("W_E")[names]
    residual = embedding + model.run_mlp(0, embedding + model.weight("W_pos")[1])
    unembedding = model.weight("W_U")[names]
    terms = []
    for layer, head in WRITERS:
        index = model.heads[layer].index(head)
        copied = residual @ model.weight(f"{layer}.W_V")[index] @ model.weight(f"{layer}.W_O")[index] @ unembedding.T
        gaps = copied.diag()[:, None] - copied
        both = _pairs(gaps + gaps.T)
        terms.append(_log_mean_exp(CLOSENESS / 2 * (1 - both / both.mean())))
    return torch.stack(terms).mean()


def _pairs(square: Float[Tensor, "name name"]) -> Float[Tensor, " pair"]:
    return square[torch.ones_like(square).triu(1).bool()]


def _log_mean_exp(values: Float[Tensor, " value"]) -> Float[Tensor, ""]:
    return values.logsumexp(0) - math.log(len(values))
