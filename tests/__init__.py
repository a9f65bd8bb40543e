"""The checks: `import tests` in a notebook, then `tests.test_NAME(NAME)` after each exercise."""

import gc
import sys
import warnings

# Where ipywidgets is missing, tqdm would advise, in red, in the first cell of every notebook, to install it.
warnings.filterwarnings("ignore", message="IProgress not found")

# A tenth of the imports' time would go to garbage collections that find nothing.
gc.disable()

import utils  # noqa: F401 - first, because its import shows a progress bar
from tests import hidden, test_01_ioi_metric
from tests.checks import cases, causes, checking, errors, figures, hooks, invariants, reference_hooks, runs, sweeps
from tests.checks.checking import CheckFailed, NotImplementedYet
from tests.checks.guards import save_originals
from tests.checks.show_difference import show_difference
from tests.checks.sweeps import result_of
from tests.test_01_ioi_metric import test_ioi_metric
from tests.test_02_residual_stream import (
    test_get_act_patch_block_every,
    test_get_act_patch_resid_pre,
    test_patch_residual_component,
)
from tests.test_03_attention_heads import test_get_act_patch_attn_head_out_all_pos, test_patch_head_vector
from tests.test_04_attention_patterns import test_get_act_patch_attn_head_all_pos_every, test_patch_attn_patterns
from tests.test_04_figures import test_my_map, test_plot_mean_attention
from tests.test_05_circuit import test_my_circuit
from tests.test_05_figures import test_early_heads_figure
from tests.test_07_refutations import test_added_cost, test_patch_with_frozen, test_probability_change
from tests.test_07_testing_the_evidence import test_kl_to_clean, test_surviving_claims
from tests.test_09_fast_sweeps import test_get_act_patch_resid_pre_fast, test_run_from_layer

gc.enable()

__all__ = [
    "CheckFailed",
    "NotImplementedYet",
    "hidden",
    "result_of",
    "show_difference",
    "test_added_cost",
    "test_early_heads_figure",
    "test_get_act_patch_attn_head_all_pos_every",
    "test_get_act_patch_attn_head_out_all_pos",
    "test_get_act_patch_block_every",
    "test_get_act_patch_resid_pre",
    "test_get_act_patch_resid_pre_fast",
    "test_ioi_metric",
    "test_kl_to_clean",
    "test_my_circuit",
    "test_my_map",
    "test_patch_attn_patterns",
    "test_patch_head_vector",
    "test_patch_residual_component",
    "test_patch_with_frozen",
    "test_plot_mean_attention",
    "test_probability_change",
    "test_run_from_layer",
    "test_surviving_claims",
]

save_originals(
    *(sys.modules[__name__], cases, causes, checking, errors, figures, hidden, hooks, invariants, reference_hooks),
    *(runs, sweeps, test_01_ioi_metric),
)
