"""Notebook 04: patching a head's attention pattern, query, key and value."""

from collections.abc import Callable

from tests.checks.checking import exercise_check
from tests.checks.hooks import check_hook
from tests.checks.sweeps import check_sweep
from utils.sweep_specs import SWEEPS


@exercise_check
def test_patch_attn_patterns(patch_attn_patterns: Callable) -> None:
    """Check the hook that patches a head's attention pattern."""
    check_hook(
        patch_attn_patterns,
        "patch_attn_patterns",
        activation_names=("pattern",),
        sizes={"batch": 2, "head_index": 3, "pos_q": 5, "pos_k": 7},
        index_argument="head_index",
        axis=1,
    )


@exercise_check
def test_get_act_patch_attn_head_all_pos_every(get_act_patch_attn_head_all_pos_every: Callable) -> None:
    """Check the sweep over z, q, k, v and pattern against `transformer_lens.patching`'s."""
    check_sweep(get_act_patch_attn_head_all_pos_every, SWEEPS["get_act_patch_attn_head_all_pos_every"])
