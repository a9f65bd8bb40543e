"""Notebook 02: patching the residual stream, and the outputs of attention and MLP layers."""

from collections.abc import Callable

from tests.checks.checking import exercise_check
from tests.checks.hooks import check_hook
from tests.checks.sweeps import check_sweep
from utils.sweep_specs import BLOCK_COMPONENTS, SWEEPS


@exercise_check
def test_patch_residual_component(patch_residual_component: Callable) -> None:
    """Check the hook that patches one position of the residual stream, or of a layer's output."""
    check_hook(
        patch_residual_component,
        "patch_residual_component",
        activation_names=BLOCK_COMPONENTS,
        sizes={"batch": 2, "pos": 5, "d_model": 7},
        index_argument="pos",
        axis=1,
    )


@exercise_check
def test_get_act_patch_resid_pre(get_act_patch_resid_pre: Callable) -> None:
    """Check the sweep over layers and positions against `transformer_lens.patching.get_act_patch_resid_pre`."""
    check_sweep(get_act_patch_resid_pre, SWEEPS["get_act_patch_resid_pre"])


@exercise_check
def test_get_act_patch_block_every(get_act_patch_block_every: Callable) -> None:
    """Check the sweep over resid_pre, attn_out and mlp_out against `transformer_lens.patching`'s."""
    check_sweep(get_act_patch_block_every, SWEEPS["get_act_patch_block_every"])
