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
- Runs do not depend on each other, and neither do the positions of a projection or an MLP. Runs share one batch,
  wherever they start; it grows from layer to layer as runs join it.
- The heads of a layer do not depend on each other. The output of each is added to the residual stream, so a patched
  head adds the change of its output, and the others stay as they are.

What remains is a sum of the same products in another order, so results differ by rounding (some 1e-6) and no more; in
bfloat16, whose rounding is large, as much as two runs in another order do.

`layers.py` calls a model's own parts as functions: those of GPT-2, GPT-NeoX and Pythia, Llama, SmolLM, Mistral, Qwen,
OPT, and the bridge's native models. `why_unsupported(model)` says in one sentence why another model is not served;
`transformer_lens.patching`, with the same names and arguments, remains the reference and serves them all. `patches.py`
says where each kind of patch enters the residual stream, `patched_runs.py` computes the patched runs layer by layer,
and the table of the sweeps is `utils.sweep_specs`.

Where transformer_lens is peculiar, these sweeps are too. With grouped-query attention the maps of keys and values have
one column for each key and value head, and 0 in the missing columns of a stack of maps. On OPT, the bridge discards
what a hook does to the pattern, with a warning, so that its maps of patterns are flat. Where attention and MLP are
parallel there is no resid_mid to patch.
"""

from utils.sweep_specs import SWEEPS
from utils.sweeps.layers import SweepError
from utils.sweeps.patched_runs import Metric, make_sweep, why_unsupported

__all__ = ["Metric", "SweepError", "why_unsupported", *SWEEPS]

globals().update({name: make_sweep(spec) for name, spec in SWEEPS.items()})
