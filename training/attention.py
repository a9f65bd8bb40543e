"""Attention supervision: where each role's heads should look.

The targets are soft: a head gives a share of its attention to the place its role calls for, and rests on BOS
with the remainder. A head's loss is the cross-entropy between that target and its attention pattern.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .batches import BOS_ID, Batch
from .circuit import HEADS
from .masked_model import MaskedModel

LOOKBACK_SHARES = {"early duplicate": 0.55, "duplicate": 0.75, "induction": 0.75}
PREVIOUS_SHARES = {"previous": 0.85, "relay": 0.6}
# At END. The rest goes to BOS.
END_SHARES = {
    "inhibition": dict(s2=0.7),
    "inhibition and relay": dict(s2=0.62, after_s2=0.15),
    "name mover": dict(io=0.7, s1=0.06),
    "backup name mover": dict(io=0.4, s1=0.06),
    "negative": dict(io=0.6, s1=0.06, s2=0.06),
}
# Too weakly held, negative heads attend to S1 and copy S instead of attending to IO and suppressing it.
END_WEIGHTS = {"negative": 5.0, "name mover": 3.0}
WORD_WEIGHT = 0.15  # repeated words that are not names matter less


def earlier_copies(batch: Batch) -> Bool[Tensor, "batch query key"]:
    """Return True where the key is an earlier occurrence of the query's token."""
    same = batch.tokens[:, :, None] == batch.tokens[:, None, :]
    return same.tril(-1) & (batch.tokens != BOS_ID)[:, :, None]


def after_earlier_copies(batch: Batch) -> Bool[Tensor, "batch query key"]:
    """Return True where the key comes right after an earlier occurrence of the query's token (induction)."""
    shifted = torch.zeros_like(earlier_copies(batch))
    shifted[:, :, 1:] = earlier_copies(batch)[:, :, :-1]
    return shifted.tril()


def _log(pattern: Tensor) -> Tensor:
    return pattern.clamp_min(1e-6).log()


def _previous_loss(pattern: Float[Tensor, "batch query key"], batch: Batch, share: float) -> Float[Tensor, ""]:
    """Attend to the token before, at every position."""
    previous = pattern.diagonal(offset=-1, dim1=1, dim2=2)
    wanted = share * _log(previous) + (1 - share) * _log(pattern[:, 1:, 0])
    return -wanted[batch.is_real[:, 1:]].mean()


def _lookback_loss(
    pattern: Float[Tensor, "batch query key"],
    batch: Batch,
    targets: Bool[Tensor, "batch query key"],
    share: float,
    weights: Float[Tensor, "batch pos"],
) -> Float[Tensor, ""]:
    """Attend to the targets where there are any, at BOS elsewhere; names count more than other words."""
    on_targets = share * _log((pattern * targets).sum(-1)) + (1 - share) * _log(pattern[:, :, 0])
    wanted = torch.where(earlier_copies(batch).any(-1), on_targets, 0.5 * _log(pattern[:, :, 0]))
    return -2 * (wanted * weights).sum() / weights.sum()


def _end_loss(pattern: Float[Tensor, "batch query key"], batch: Batch, shares: dict[str, float]) -> Float[Tensor, ""]:
    """Attend to the given places from END."""
    at_end = pattern[batch.rows, batch.end]
    places = dict(s2=batch.s2, after_s2=batch.s2 + 1, io=batch.io, s1=batch.s1)
    wanted = (1 - sum(shares.values())) * _log(at_end[:, 0])
    for place, share in shares.items():
        wanted = wanted + share * _log(at_end[batch.rows, places[place]])
    return -wanted[batch.is_ioi].mean()


def _rest_loss(pattern: Float[Tensor, "batch query key"], batch: Batch) -> Float[Tensor, ""]:
    """Rest on BOS at every position before END."""
    before_end = torch.arange(pattern.shape[1])[None] < batch.end[:, None]
    return -0.5 * _log(pattern[:, :, 0])[before_end].mean()


def attention_loss(
    model: MaskedModel, cache: dict[tuple[str, int], Tensor], batch: Batch, name_ids: Tensor
) -> Float[Tensor, ""]:
    """Return the distance between heads' patterns and their roles' targets, averaged over the circuit."""
    copies, after_copies = earlier_copies(batch), after_earlier_copies(batch)
    weights = torch.where(torch.isin(batch.tokens, name_ids), 1.0, WORD_WEIGHT) * batch.is_real
    total = torch.zeros(())
    for (layer, head), role in HEADS.items():
        pattern = cache["pattern", layer][:, model.heads[layer].index(head)]
        if role in PREVIOUS_SHARES:
            total = total + _previous_loss(pattern, batch, PREVIOUS_SHARES[role])
        elif role in LOOKBACK_SHARES:
            targets = after_copies if role == "induction" else copies
            total = total + _lookback_loss(pattern, batch, targets, LOOKBACK_SHARES[role], weights)
        else:
            weight = END_WEIGHTS.get(role, 1.0)
            total = total + weight * _end_loss(pattern, batch, END_SHARES[role]) + _rest_loss(pattern, batch)
    return total / len(HEADS)
