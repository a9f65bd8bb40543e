"""Notebook 03: patching the output of one attention head."""

from collections.abc import Callable

from tests.checks.checking import exercise_check
from tests.checks.hooks import check_hook
from tests.checks.sweeps import check_sweep
from tests.exercises import EXERCISE_SWEEPS, HOOKS


@exercise_check
def test_patch_head_vector(patch_head_vector: Callable) -> None:
    """Check the hook that patches a head's output, query, key or value at every position.

    It is called with small random activations, for z, q, k and v, every head and two layers: the asked head must equal
    the clean cache, all else the corrupted activation, exactly. Takes a fraction of a second.
    """
    check_hook(patch_head_vector, HOOKS["patch_head_vector"])


@exercise_check
def test_get_act_patch_attn_head_out_all_pos(get_act_patch_attn_head_out_all_pos: Callable) -> None:
    """Check the sweep over layers and heads against `transformer_lens.patching.get_act_patch_attn_head_out_all_pos`.

    On tiny random models first, then on the loaded model and the 8 IOI prompts: 144 patched runs on a model of 12
    layers and heads, about 2 seconds on ioi-mini and half a minute on gpt2-small.
    """
    check_sweep(get_act_patch_attn_head_out_all_pos, EXERCISE_SWEEPS["get_act_patch_attn_head_out_all_pos"])
