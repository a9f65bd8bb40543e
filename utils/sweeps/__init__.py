"""The sweeps of `transformer_lens.patching`: the same numbers, many times faster.

    from utils import sweeps
    sweeps.get_act_patch_block_every(model, corrupted_tokens, clean_cache, ioi_metric)

`transformer_lens.patching` runs the whole model once for each cell of a map. Most of that work repeats what the
corrupted run has already done, and leaving it out changes no number:

- In a causal model nothing at a position depends on later positions. A patch at position p leaves every earlier
  position as it is in the corrupted run, keys and values included: only positions from p on are computed.
- Nothing in a layer depends on later layers. Up to the patch, the patched run is the corrupted run: a run starts at
  the layer of its patch.
- An activation that is equal in both runs, bit for bit, is no patch: the cell is the corrupted run's metric. Where
  the prompts agree up to S2, that holds for all positions before S2.
- The metric reads END. In the last layer, other positions matter for their keys and values only, and an activation
  that END cannot see is no patch either. Only END is unembedded.
- Runs do not depend on each other. Those that start at the same position share one batch, which grows from layer to
  layer as runs join it.
- The heads of a layer do not see each other. What one of them writes is added to the residual stream, so a patched
  head adds the difference of what it writes, and the others are left alone.

What remains is a sum of the same products in another order, so results differ by rounding (some 1e-6) and no more.
`arithmetic.py` is GPT-2's layers as functions, `patches.py` says where each kind of patch enters and with what, and
`patched_runs.py` sends the patched runs through the layers. `transformer_lens.patching` remains the reference.
"""

from typing import TypedDict, Unpack

from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from utils.published import BLOCK_COMPONENTS, HEAD_COMPONENTS
from utils.sweeps.arithmetic import SweepError
from utils.sweeps.patched_runs import Metric, sweep

__all__ = [
    "SweepError",
    "SweepOptions",
    "get_act_patch_attn_head_all_pos_every",
    "get_act_patch_attn_head_by_pos_every",
    "get_act_patch_attn_head_k_all_pos",
    "get_act_patch_attn_head_k_by_pos",
    "get_act_patch_attn_head_out_all_pos",
    "get_act_patch_attn_head_out_by_pos",
    "get_act_patch_attn_head_pattern_all_pos",
    "get_act_patch_attn_head_pattern_by_pos",
    "get_act_patch_attn_head_q_all_pos",
    "get_act_patch_attn_head_q_by_pos",
    "get_act_patch_attn_head_v_all_pos",
    "get_act_patch_attn_head_v_by_pos",
    "get_act_patch_attn_out",
    "get_act_patch_block_every",
    "get_act_patch_mlp_out",
    "get_act_patch_resid_mid",
    "get_act_patch_resid_pre",
]


class SweepOptions(TypedDict, total=False):
    """What every function here takes besides the four arguments of its namesake in `transformer_lens.patching`.

    The metric is called with logits of the usual shape, `[batch pos d_vocab]`, of which only the last position is
    computed; the others hold NaN, so that a metric which reads them is noticed. A metric that reads only some tokens,
    as a logit difference does, may say which in an attribute, `metric.tokens_read = answer_tokens` (of any shape):
    then the others are not computed either.
    """

    all_positions: bool
    """Give the metric the logits of every position. Needed only for a metric that reads others than the last."""
    max_memory: int
    """About how many bytes a batch of patched runs may take, besides the activations of the two runs. Default: 256 MiB.
    At least one patched run is computed at a time, and batches are never larger than is fast."""
    progress: bool
    """Show a progress bar, on stdout, if the work takes longer than two seconds. Default: True."""


def get_act_patch_resid_pre(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer pos"]:
    """Patch the residual stream before each layer, one position at a time."""
    return sweep(("resid_pre",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_resid_mid(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer pos"]:
    """Patch the residual stream between attention and MLP of each layer, one position at a time."""
    return sweep(("resid_mid",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_out(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer pos"]:
    """Patch the output of each attention layer, one position at a time."""
    return sweep(("attn_out",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_mlp_out(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer pos"]:
    """Patch the output of each MLP, one position at a time."""
    return sweep(("mlp_out",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_block_every(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "3 layer pos"]:
    """Patch resid_pre, attn_out and mlp_out (in this order), one position at a time."""
    return sweep(BLOCK_COMPONENTS, True, model, corrupted_tokens, clean_cache, patching_metric, **options)


def get_act_patch_attn_head_out_all_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer head"]:
    """Patch the outputs z of one head at a time, at all positions."""
    return sweep(("z",), False, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_q_all_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer head"]:
    """Patch the queries of one head at a time, at all positions."""
    return sweep(("q",), False, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_k_all_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer head"]:
    """Patch the keys of one head at a time, at all positions."""
    return sweep(("k",), False, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_v_all_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer head"]:
    """Patch the values of one head at a time, at all positions."""
    return sweep(("v",), False, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_pattern_all_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer head"]:
    """Patch the attention pattern of one head at a time, at all positions."""
    return sweep(("pattern",), False, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_out_by_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer pos head"]:
    """Patch the output z of one head at one position at a time."""
    return sweep(("z",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_q_by_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer pos head"]:
    """Patch the query of one head at one position at a time."""
    return sweep(("q",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_k_by_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer pos head"]:
    """Patch the key of one head at one position at a time."""
    return sweep(("k",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_v_by_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer pos head"]:
    """Patch the value of one head at one position at a time."""
    return sweep(("v",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]


def get_act_patch_attn_head_pattern_by_pos(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "layer head dest_pos"]:
    """Patch the attention pattern of one head at one destination position at a time.

    The axes are in another order than those of the other maps by position, as in transformer_lens.
    """
    by_pos = sweep(("pattern",), True, model, corrupted_tokens, clean_cache, patching_metric, **options)[0]
    return by_pos.transpose(-1, -2)


def get_act_patch_attn_head_all_pos_every(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "5 layer head"]:
    """Patch z, q, k, v and pattern (in this order) of one head at a time, at all positions."""
    return sweep(HEAD_COMPONENTS, False, model, corrupted_tokens, clean_cache, patching_metric, **options)


def get_act_patch_attn_head_by_pos_every(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
    **options: Unpack[SweepOptions],
) -> Float[Tensor, "5 layer pos head"]:
    """Patch z, q, k, v and pattern (in this order) of one head at one position at a time."""
    return sweep(HEAD_COMPONENTS, True, model, corrupted_tokens, clean_cache, patching_metric, **options)
