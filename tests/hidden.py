"""What grading checks beyond what the notebooks show: models, prompts, answers and metrics drawn from other seeds.

Only the instructor's notebooks call these functions, between nbgrader's marks for hidden tests. They live here so that
a feedback page shows a call and no more.
"""

import functools
from collections.abc import Callable

from tests.checks.checking import exercise_check
from tests.checks.sweeps import check_sweep_on_tiny_models
from tests.test_01_ioi_metric import check_metric_on_random_logits
from utils.published import BLOCK_COMPONENTS, HEAD_COMPONENTS

# Every patch that can matter moves these cases' metrics by more than 0.001.
SEED = 1011

hidden_check = functools.partial(exercise_check, which="hidden")


@hidden_check
def test_ioi_metric(ioi_metric: Callable) -> None:
    """The metric on other random logits and answers."""
    check_metric_on_random_logits(ioi_metric, seed=SEED)


@hidden_check
def test_get_act_patch_resid_pre(get_act_patch_resid_pre: Callable) -> None:
    """The sweep on other random models and prompts."""
    check_sweep_on_tiny_models(get_act_patch_resid_pre, "get_act_patch_resid_pre", "layer pos", seed=SEED)


@hidden_check
def test_get_act_patch_block_every(get_act_patch_block_every: Callable) -> None:
    """The sweep on other random models and prompts."""
    check_sweep_on_tiny_models(
        get_act_patch_block_every, "get_act_patch_block_every", "component layer pos", BLOCK_COMPONENTS, seed=SEED
    )


@hidden_check
def test_get_act_patch_attn_head_out_all_pos(get_act_patch_attn_head_out_all_pos: Callable) -> None:
    """The sweep on other random models and prompts."""
    check_sweep_on_tiny_models(
        get_act_patch_attn_head_out_all_pos, "get_act_patch_attn_head_out_all_pos", "layer head", seed=SEED
    )


@hidden_check
def test_get_act_patch_attn_head_all_pos_every(get_act_patch_attn_head_all_pos_every: Callable) -> None:
    """The sweep on other random models and prompts."""
    check_sweep_on_tiny_models(
        get_act_patch_attn_head_all_pos_every,
        "get_act_patch_attn_head_all_pos_every",
        "component layer head",
        HEAD_COMPONENTS,
        seed=SEED,
    )
