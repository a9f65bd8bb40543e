"""Notebook 04: patching a head's attention pattern, query, key and value."""

from collections.abc import Callable

from tests.checks.checking import exercise_check
from tests.checks.hooks import check_hook
from tests.checks.sweeps import check_sweep
from tests.exercises import EXERCISE_SWEEPS, HOOKS


@exercise_check
def test_patch_attn_patterns(patch_attn_patterns: Callable) -> None:
    """Check the hook that patches a head's attention pattern.

    It is called with small random patterns, for every head and two layers: the asked head must equal the clean cache,
    all else the corrupted pattern, exactly. Takes a fraction of a second.
    """
    check_hook(patch_attn_patterns, HOOKS["patch_attn_patterns"])


@exercise_check
def test_get_act_patch_attn_head_all_pos_every(get_act_patch_attn_head_all_pos_every: Callable) -> None:
    """Check the sweep over z, q, k, v and pattern against `transformer_lens.patching`'s of the same name.

    On tiny random models first, then on the loaded model and the 8 IOI prompts: 720 patched runs on a model of 12
    layers and heads, about 8 seconds on ioi-mini and two minutes on gpt2-small.
    """
    check_sweep(get_act_patch_attn_head_all_pos_every, EXERCISE_SWEEPS["get_act_patch_attn_head_all_pos_every"])
