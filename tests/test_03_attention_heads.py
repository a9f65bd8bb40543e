"""Notebook 03: patching the output of one attention head."""

from collections.abc import Callable

from tests.checks.checking import exercise_check
from tests.checks.hooks import check_hook
from tests.checks.sweeps import check_sweep
from utils.sweep_specs import SWEEPS


@exercise_check
def test_patch_head_vector(patch_head_vector: Callable) -> None:
    """Check the hook that patches a head's output, query, key or value at every position."""
    check_hook(
        patch_head_vector,
        "patch_head_vector",
        activation_names=("z", "q", "k", "v"),
        sizes={"batch": 2, "pos": 5, "head_index": 3, "d_head": 7},
        index_argument="head_index",
        axis=2,
    )


@exercise_check
def test_get_act_patch_attn_head_out_all_pos(get_act_patch_attn_head_out_all_pos: Callable) -> None:
    """Check the sweep over layers and heads against `transformer_lens.patching`'s."""
    check_sweep(get_act_patch_attn_head_out_all_pos, SWEEPS["get_act_patch_attn_head_out_all_pos"])
