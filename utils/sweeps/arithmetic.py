"""Matrix products, rotary positions and attention, where most of the time of a sweep goes.

A row is one prompt of one patched run. Its positions begin at the first one that the patch changes; the keys and values
of the positions before that are arguments. Query heads may share key and value heads: query head h reads key and value
head h // group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Queries = Float[Tensor, "row pos_q head d_head"]
Keys = Float[Tensor, "row pos kv_head d_head"]
EarlierKeys = Float[Tensor, "batch earlier_pos kv_head d_head"]
"""Of the corrupted run: the same for all runs of a prompt."""

# With more new positions than this, PyTorch's attention is faster than one that takes them one after the other.
FEW_POSITIONS = 16


@dataclass(frozen=True)
class Activation:
    """An activation function, and what oneDNN calls it."""

    function: Callable[[Tensor], Tensor]
    name: str
    variant: str = ""


GELU = Activation(F.gelu, "gelu", "none")
GELU_BY_TANH = Activation(lambda x: F.gelu(x, approximate="tanh"), "gelu", "tanh")
SILU = Activation(F.silu, "swish")
ACTIVATIONS = {
    "gelu": GELU,
    "gelu_new": GELU_BY_TANH,
    "gelu_fast": GELU_BY_TANH,
    "gelu_pytorch_tanh": GELU_BY_TANH,
    "relu": Activation(F.relu, "relu"),
    "silu": SILU,
    "swish": SILU,
}
NO_ACTIVATION = Activation(lambda x: x, "none")
ONEDNN_IS_THERE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(
    x: Float[Tensor, "*rows in"],
    W: Float[Tensor, "out in"],
    b: Float[Tensor, "out"] | None,
    activation: Activation = NO_ACTIVATION,
) -> Float[Tensor, "*rows out"]:
    """Compute the activation function of `F.linear`, on a CPU with the faster of PyTorch's two matrix libraries."""
    if _onednn_serves(x):
        return torch.ops.mkldnn._linear_pointwise(x, W, b, activation.name, [], activation.variant)
    return activation.function(F.linear(x, W, b))


def linear_and(
    x: Float[Tensor, "*rows in"],
    W: Float[Tensor, "out in"],
    b: Float[Tensor, "out"] | None,
    operation: Literal["add", "mul"],
    other: Float[Tensor, "*rows out"],
) -> Float[Tensor, "*rows out"]:
    """Compute `F.linear` and add another tensor to it, or multiply by it."""
    if _onednn_serves(x):
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, W, b, operation)
    return getattr(F.linear(x, W, b), operation)(other)


def _onednn_serves(x: Tensor) -> bool:
    """Return whether oneDNN multiplies here, and not `F.linear`, which calls Intel's MKL.

    PyTorch offers these products of oneDNN to `torch.compile`. They are the faster ones, on AMD's processors by up to a
    factor of two, and they apply what follows the product before its result leaves the processor's cache.
    """
    return x.device.type == "cpu" and x.dtype == torch.float32 and ONEDNN_IS_THERE


@dataclass(frozen=True)
class Rotation:
    """Rotary positions: the first dimensions of each query and key, taken in pairs, turn with their position."""

    cos: Float[Tensor, "pos 1 pair"]
    sin: Float[Tensor, "pos 1 pair"]
    adjacent: bool
    """Whether a pair is two adjacent dimensions; otherwise it is one of the first half and one of the second."""

    def __getitem__(self, positions: slice) -> "Rotation":
        """Return the rotation of these positions only."""
        return Rotation(self.cos[positions], self.sin[positions], self.adjacent)

    def turn_(self, x: Float[Tensor, "row pos head d_head"]) -> Float[Tensor, "row pos head d_head"]:
        """Turn queries or keys in place."""
        pairs = self.cos.shape[-1]
        rotated = x[..., : 2 * pairs].unflatten(-1, (pairs, 2) if self.adjacent else (2, pairs))
        first, second = rotated.unbind(-1 if self.adjacent else -2)
        turned = first * self.cos - second * self.sin
        second.mul_(self.cos).addcmul_(first, self.sin)
        first.copy_(turned)
        return x


def attend(queries: Queries, keys: Keys, values: Keys, scale: float) -> Queries:
    """Return z, the output of causal attention of each head. The last query is at the last key's position.

    Scores are multiplied by `scale`.
    """
    pos_q, pos_k = queries.shape[1], keys.shape[1]
    causal_mask = torch.ones(pos_q, pos_k, dtype=torch.bool, device=queries.device).tril(pos_k - pos_q)
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    z = F.scaled_dot_product_attention(q, k, v, causal_mask, scale=scale, enable_gqa=k.shape[1] < q.shape[1])
    return z.transpose(1, 2)


def attend_after(
    earlier_keys: EarlierKeys, earlier_values: EarlierKeys, queries: Queries, keys: Keys, values: Keys, scale: float
) -> Queries:
    """Compute `attend` with the corrupted run's keys and values before those of each patched run."""
    nothing_to_share = len(keys) == len(earlier_keys)  # a single run
    if nothing_to_share or keys.shape[1] > FEW_POSITIONS:
        return attend(queries, _append(earlier_keys, keys), _append(earlier_values, values), scale)
    return _attend_with_few_new_keys(earlier_keys, earlier_values, queries, keys, values, scale)


def _append(earlier: EarlierKeys, new: Keys) -> Float[Tensor, "row all_pos kv_head d_head"]:
    new = new.unflatten(0, (-1, len(earlier)))
    return torch.cat([earlier.expand(len(new), -1, -1, -1, -1), new], dim=2).flatten(0, 1)


def _attend_with_few_new_keys(
    earlier_keys: EarlierKeys, earlier_values: EarlierKeys, queries: Queries, keys: Keys, values: Keys, scale: float
) -> Queries:
    """Compute attention for few new positions, where a matrix product for each row and head would be tiny.

    The earlier keys are the same for all runs of a prompt, so one product for each prompt and head serves all runs.
    The new keys are taken one position after the other, for all rows and heads at once.
    """
    batch, earlier = earlier_keys.shape[:2]
    pos_q, pos_new = queries.shape[1], keys.shape[1]
    heads = (keys.shape[2], -1)  # the key and value heads, and the query heads that share each
    # The queries that attend to each new key.
    attending = [slice(max(0, key - (pos_new - pos_q)), None) for key in range(pos_new)]

    # Queries and heads last: softmax over the keys is several times faster when what follows them is long.
    scores = queries.new_full((len(queries), earlier + pos_new, pos_q, queries.shape[2]), -torch.inf)
    queries = queries.unflatten(2, heads)
    by_prompt = queries.unflatten(0, (-1, batch))
    of_earlier_keys = torch.einsum("r b q h g d, b k h d -> r b k q h g", by_prompt, earlier_keys)
    scores[:, :earlier] = of_earlier_keys.flatten(0, 1).flatten(-2)
    for key, query in enumerate(attending):
        scores[:, earlier + key, query] = (queries[:, query] * keys[:, key, None, :, None]).sum(dim=-1).flatten(-2)

    pattern = scores.mul_(scale).softmax(dim=1).unflatten(-1, heads)
    by_prompt = pattern[:, :earlier].unflatten(0, (-1, batch))
    z = torch.einsum("r b k q h g, b k h d -> r b q h g d", by_prompt, earlier_values).flatten(0, 1)
    for key, query in enumerate(attending):
        z[:, query].addcmul_(pattern[:, earlier + key, query, ..., None], values[:, key, None, :, None])
    return z.flatten(2, 3)
