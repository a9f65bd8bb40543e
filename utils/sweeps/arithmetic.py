"""The arithmetic of GPT-2 on the residual stream: that of the bridge, without hooks and from any layer on.

Activations are [row pos d_model] here. A row is one prompt of one patched run, and its positions begin at the first
one that the patch changes; the keys and values of the positions before that are arguments.
"""

import timeit
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.errors import WorkbookError

ACTIVATION_FUNCTIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}

# Other arithmetic gives logits that differ by far more than this fraction; another order of summation, by far less.
ARITHMETIC_TOLERANCE = 1e-4

# With more new positions than this, PyTorch's attention is faster than one that takes them one after the other.
FEW_POSITIONS = 16

# oneDNN has its own kind of tensor. With fewer rows, converting to it and back takes longer than it saves.
ROWS_WORTH_CONVERTING = 256


class SweepError(WorkbookError):
    """The fast sweeps cannot compute what was asked for."""


class Block:
    """One layer: attention, then the MLP, each adding to the residual stream. Its weights are the model's."""

    def __init__(self, model: TransformerBridge, layer: int) -> None:
        block = model.blocks[layer]
        attn, mlp = block.attn, block.mlp
        self.eps = model.cfg.eps
        self.n_heads = model.cfg.n_heads
        self.activation_function = ACTIVATION_FUNCTIONS[model.cfg.act_fn]
        self.ln1, self.ln2 = block.ln1, block.ln2
        # `linear` wants [out in]; transformer_lens stores [head d_model d_head], and [in out].
        self.W_Q, self.W_K, self.W_V = (W.transpose(1, 2).flatten(0, 1) for W in (attn.W_Q, attn.W_K, attn.W_V))
        self.b_Q, self.b_K, self.b_V = (b.flatten() for b in (attn.b_Q, attn.b_K, attn.b_V))
        # Queries come out divided by the square root of d_head, as attention wants them.
        scale = attn.W_Q.shape[-1] ** -0.5
        self.W_Q, self.b_Q = self.W_Q * scale, self.b_Q * scale
        self.W_O, self.b_O = attn.W_O, attn.b_O
        self.W_O_of_all_heads = attn.W_O.flatten(0, 1).T.contiguous()
        self.W_in, self.b_in = mlp.W_in.T.contiguous(), mlp.b_in
        self.W_out, self.b_out = mlp.W_out.T.contiguous(), mlp.b_out

    def attention(
        self,
        residual: Float[Tensor, "row pos d_model"],
        earlier_keys: Float[Tensor, "batch earlier_pos head d_head"],
        earlier_values: Float[Tensor, "batch earlier_pos head d_head"],
        wanted: slice,
    ) -> Float[Tensor, "row wanted_pos d_model"]:
        """Add the attention layer's output to the residual stream, at the `wanted` positions only.

        Keys and values are needed at every position, for the wanted ones attend to them; queries are not.
        """
        x = layer_norm(residual, self.ln1, self.eps)
        keys = self._heads(linear(x, self.W_K, self.b_K))
        values = self._heads(linear(x, self.W_V, self.b_V))
        queries = self._heads(linear(x[:, wanted], self.W_Q, self.b_Q))
        z = attend_after(earlier_keys, earlier_values, queries, keys, values)
        return linear(z.flatten(2), self.W_O_of_all_heads, self.b_O).add_(residual[:, wanted])

    def mlp(self, residual: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """Add the MLP's output to the residual stream."""
        x = layer_norm(residual, self.ln2, self.eps)
        hidden = self.activation_function(linear(x, self.W_in, self.b_in))
        return linear(hidden, self.W_out, self.b_out).add_(residual)

    def _heads(self, x: Float[Tensor, "row pos d_attention"]) -> Float[Tensor, "row pos head d_head"]:
        return x.unflatten(-1, (self.n_heads, -1))


class Unembedding:
    """The final LayerNorm and the unembedding: from the residual stream to logits."""

    def __init__(self, model: TransformerBridge) -> None:
        self.eps = model.cfg.eps
        self.ln_final, self.W_U, self.b_U = model.ln_final, model.W_U, model.b_U

    def __call__(
        self, residual: Float[Tensor, "*rows d_model"], tokens: Int[Tensor, "token"] | None = None
    ) -> Float[Tensor, "*rows token"]:
        """Return the logits of `tokens`, or of the whole vocabulary."""
        W_U, b_U = (self.W_U, self.b_U) if tokens is None else (self.W_U[:, tokens], self.b_U[tokens])
        return linear(layer_norm(residual, self.ln_final, self.eps), W_U.T, b_U)


def linear(
    x: Float[Tensor, "*rows in"], W: Float[Tensor, "out in"], b: Float[Tensor, "out"]
) -> Float[Tensor, "*rows out"]:
    """Compute `F.linear`, on a CPU with the faster of the two matrix libraries that come with PyTorch."""
    if x.device.type == "cpu" and x[..., 0].numel() >= ROWS_WORTH_CONVERTING and _onednn_is_faster():
        return _linear_by_onednn(x, W, b)
    return F.linear(x, W, b)


def _linear_by_onednn(
    x: Float[Tensor, "*rows in"], W: Float[Tensor, "out in"], b: Float[Tensor, "out"]
) -> Float[Tensor, "*rows out"]:
    return F.linear(x.to_mkldnn(), W, b).to_dense()  # mkldnn is oneDNN's former name


@cache
def _onednn_is_faster() -> bool:
    """Return whether oneDNN multiplies matrices faster here than `F.linear` by itself, which calls Intel's MKL.

    On AMD's processors with AVX-512 it is almost twice as fast; on Intel's the two are close.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    x, W, b = torch.ones(512, 768), torch.ones(768, 768), torch.ones(768)
    return _best_seconds(lambda: _linear_by_onednn(x, W, b)) < _best_seconds(lambda: F.linear(x, W, b))


def _best_seconds(function: Callable[[], object]) -> float:
    return min(timeit.repeat(function, number=1, repeat=4))


def layer_norm(x: Float[Tensor, "*rows d_model"], ln: Any, eps: float) -> Float[Tensor, "*rows d_model"]:
    """Apply the LayerNorm `ln`, which has a gain of 1 and a bias of 0 where compatibility mode has folded them."""
    return F.layer_norm(x, x.shape[-1:], ln.weight, ln.bias, eps)


def attend(
    queries: Float[Tensor, "row pos_q head d_head"],
    keys: Float[Tensor, "row pos_k head d_head"],
    values: Float[Tensor, "row pos_k head d_head"],
    scale: float | None = None,
) -> Float[Tensor, "row pos_q head d_head"]:
    """Return z, the output of causal attention of each head. The last query is at the last key's position.

    Scores are multiplied by `scale`, by default 1 over the square root of d_head.
    """
    pos_q, pos_k = queries.shape[1], keys.shape[1]
    causal_mask = torch.ones(pos_q, pos_k, dtype=torch.bool, device=queries.device).tril(pos_k - pos_q)
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=causal_mask, scale=scale).transpose(1, 2)


def attend_after(
    earlier_keys: Float[Tensor, "batch earlier_pos head d_head"],
    earlier_values: Float[Tensor, "batch earlier_pos head d_head"],
    queries: Float[Tensor, "row pos_q head d_head"],
    keys: Float[Tensor, "row pos head d_head"],
    values: Float[Tensor, "row pos head d_head"],
) -> Float[Tensor, "row pos_q head d_head"]:
    """Compute `attend` for scaled queries, the corrupted run's keys and values before those of each patched run."""
    nothing_to_share = len(keys) == len(earlier_keys)  # a single run
    if nothing_to_share or keys.shape[1] > FEW_POSITIONS:
        return attend(queries, _append(earlier_keys, keys), _append(earlier_values, values), scale=1.0)
    return _attend_with_few_new_keys(earlier_keys, earlier_values, queries, keys, values)


def _append(
    earlier: Float[Tensor, "batch earlier_pos head d_head"], new: Float[Tensor, "row pos head d_head"]
) -> Float[Tensor, "row all_pos head d_head"]:
    new = new.unflatten(0, (-1, len(earlier)))
    return torch.cat([earlier.expand(len(new), -1, -1, -1, -1), new], dim=2).flatten(0, 1)


def _attend_with_few_new_keys(
    earlier_keys: Float[Tensor, "batch earlier_pos head d_head"],
    earlier_values: Float[Tensor, "batch earlier_pos head d_head"],
    queries: Float[Tensor, "row pos_q head d_head"],
    keys: Float[Tensor, "row pos head d_head"],
    values: Float[Tensor, "row pos head d_head"],
) -> Float[Tensor, "row pos_q head d_head"]:
    """Compute attention for few new positions, where a matrix product for each row and head would be tiny.

    The earlier keys are the same for all runs of a prompt, so one product for each prompt and head serves all runs.
    The new keys are taken one position after the other, for all rows and heads at once.
    """
    batch, earlier = earlier_keys.shape[:2]
    pos_q, pos_new = queries.shape[1], keys.shape[1]
    # The queries that attend to each new key.
    attending = [slice(max(0, key - (pos_new - pos_q)), None) for key in range(pos_new)]

    # Queries and heads last: softmax over the keys is several times faster when what follows them is long.
    scores = queries.new_full((len(queries), earlier + pos_new, pos_q, queries.shape[2]), -torch.inf)
    by_prompt = queries.unflatten(0, (-1, batch))
    scores[:, :earlier] = torch.einsum("r b q h d, b k h d -> r b k q h", by_prompt, earlier_keys).flatten(0, 1)
    for key, query in enumerate(attending):
        scores[:, earlier + key, query] = (queries[:, query] * keys[:, key, None]).sum(dim=-1)

    pattern = scores.softmax(dim=1)
    by_prompt = pattern[:, :earlier].unflatten(0, (-1, batch))
    z = torch.einsum("r b k q h, b k h d -> r b q h d", by_prompt, earlier_values).flatten(0, 1)
    for key, query in enumerate(attending):
        z[:, query].addcmul_(pattern[:, earlier + key, query, :, None], values[:, key, None])
    return z


def refuse_other_models(model: object) -> None:
    """Raise `SweepError` for a model whose arithmetic is not that of `Block`, or which hooks change."""
    reason = _reason_to_refuse(model)
    if reason:
        raise _refusal(reason)


def read_weights(model: TransformerBridge) -> tuple[list[Block], Unembedding]:
    """Return the model's layers as functions. Raises `SweepError` for a model without GPT-2's weights."""
    try:
        return [Block(model, layer) for layer in range(model.cfg.n_layers)], Unembedding(model)
    except AttributeError:
        raise _refusal("this model does not have the same weights") from None


def refuse_other_arithmetic(
    blocks: list[Block],
    unembedding: Unembedding,
    resid_pre: Float[Tensor, "batch pos d_model"],
    logits: Float[Tensor, "batch pos d_vocab"],
) -> None:
    """Raise `SweepError` unless `blocks` turn the first prompt's embedding into the logits that the model gave.

    So a model that differs from GPT-2 in a way unknown to `refuse_other_models` cannot lead to wrong numbers.
    """
    residual = resid_pre[:1]
    everywhere = slice(None)
    for block in blocks:
        nothing_earlier = residual.new_empty(1, 0, *block.b_Q.unflatten(0, (block.n_heads, -1)).shape)
        residual = block.mlp(block.attention(residual, nothing_earlier, nothing_earlier, everywhere))
    error = (unembedding(residual[:, -1]) - logits[:1, -1]).abs().max()
    if not error <= ARITHMETIC_TOLERANCE * logits[:1, -1].abs().max():
        raise _refusal("this model computes something that GPT-2 does not")


def _refusal(reason: str) -> SweepError:
    return SweepError(
        f"The fast sweeps follow GPT-2's arithmetic in float32, and {reason}: use transformer_lens.patching, whose "
        "functions have the same names and arguments."
    )


def _reason_to_refuse(model: object) -> str:
    """Return why the fast sweeps do not fit this model, as half a sentence; empty if they do."""
    if not isinstance(model, TransformerBridge):
        return f"a {type(model).__name__} is not a TransformerBridge"
    cfg = model.cfg
    if cfg.n_key_value_heads not in (None, cfg.n_heads):
        return f"this model's {cfg.n_heads} query heads share {cfg.n_key_value_heads} key and value heads"
    if cfg.positional_embedding_type != "standard":
        return f"this model's positions are {cfg.positional_embedding_type}, not learned embeddings"
    if cfg.normalization_type not in ("LN", "LNPre"):
        return f"this model normalizes with {cfg.normalization_type}, not LayerNorm"
    if cfg.gated_mlp or cfg.parallel_attn_mlp or cfg.attn_only:
        return "this model's blocks are not attention followed by a plain MLP"
    if cfg.act_fn not in ACTIVATION_FUNCTIONS:
        return f"this model's activation function is {cfg.act_fn}"
    if {weight.dtype for weight in model.parameters()} != {torch.float32}:
        return "this model's weights are of another type"
    if any(module.training for module in model.modules()):
        return "this model is in training mode (call model.eval())"
    if any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values()):
        return "this model carries hooks (model.reset_hooks() removes them)"
    return ""
