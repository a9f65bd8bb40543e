"""The sweeps of `transformer_lens.patching`: the same numbers, many times faster.

    from utils import sweeps
    sweeps.get_act_patch_block_every(model, corrupted_tokens, clean_cache, ioi_metric)

`transformer_lens.patching` runs the whole model once for each cell of a map. Most of that work repeats what the
corrupted run has already done, and leaving it out changes no number:

- In a causal model nothing at a position depends on later positions. A patch at position p leaves every earlier
  position as it is in the corrupted run, keys and values included: only positions from p on are computed.
- Nothing in a layer depends on later layers. Up to the patch, the patched run is the corrupted run: a run starts at
  the layer of its patch.
- An activation that is equal in both runs, bit for bit, changes nothing: the cell is the corrupted run's metric. Where
  the prompts agree up to S2, that holds for all positions before S2.
- The metric reads END. In the last layer, other positions matter for their keys and values only, and an activation
  that END cannot attend to changes nothing either. Only END is unembedded.
- Runs do not depend on each other. Those that start at the same position share one batch, which grows from layer to
  layer as runs join it.
- The heads of a layer do not depend on each other. The output of each is added to the residual stream, so a patched
  head adds the change of its output, and the others stay as they are.

What remains is a sum of the same products in another order, so results differ by rounding (some 1e-6) and no more.
`arithmetic.py` has GPT-2's layers as functions, `patches.py` says where each kind of patch enters the residual stream,
and `patched_runs.py` computes the patched runs layer by layer; the table of the sweeps is `utils.sweep_specs`.
`transformer_lens.patching` remains the reference.
"""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from utils.sweep_specs import SWEEPS, SweepSpec
from utils.sweeps.arithmetic import SweepError
from utils.sweeps.patched_runs import DEFAULT_MEMORY, Metric, sweep

__all__ = ["Metric", "SweepError", *SWEEPS]

DOC = """Patch {components}, one at a time, and return the metric of each patched run: [{axes}].

    The arguments, but for the options, and the numbers are those of `transformer_lens.patching.{name}`.
    The metric is called with logits of the usual shape, [batch pos d_vocab], of which only the last position is
    computed; the others hold NaN, so that a metric which reads them is noticed.

    Options:
        tokens_read: the tokens whose logits the metric reads, a tensor of any shape such as answer_tokens; the logits
            of other tokens are not computed then. Default: all tokens.
        all_positions: give the metric the logits of every position, for a metric that reads others than the last.
        max_memory: about how many bytes a batch of patched runs may take, besides the activations of the two runs.
            At least one patched run is computed at a time, and batches are never larger than is fast.
        progress: show a progress bar, on stdout, if the work takes longer than two seconds.

    Raises `SweepError` for a model that does not compute as GPT-2 does, and for a metric that reads other logits.
    """


def _make_sweep(spec: SweepSpec) -> Callable[..., Float[Tensor, "..."]]:
    def sweep_function(
        model: TransformerBridge,
        corrupted_tokens: Int[Tensor, "batch pos"],
        clean_cache: ActivationCache,
        patching_metric: Metric,
        *,
        tokens_read: Int[Tensor, "..."] | None = None,
        all_positions: bool = False,
        max_memory: int = DEFAULT_MEMORY,
        progress: bool = True,
    ) -> Float[Tensor, "..."]:
        arguments = model, corrupted_tokens, clean_cache, patching_metric
        return sweep(spec, *arguments, tokens_read, all_positions, max_memory, progress)

    sweep_function.__doc__ = DOC.format(components=", ".join(spec.components), axes=spec.axes, name=spec.name)
    sweep_function.__name__ = sweep_function.__qualname__ = spec.name
    return sweep_function


globals().update({name: _make_sweep(spec) for name, spec in SWEEPS.items()})
