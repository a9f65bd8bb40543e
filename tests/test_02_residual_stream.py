"""Notebook 02: patching the residual stream, and the outputs of attention and MLP layers."""

from collections.abc import Callable

from tests.checks.checking import exercise_check
from tests.checks.hooks import check_hook
from tests.checks.sweeps import check_sweep
from tests.exercises import EXERCISE_SWEEPS, HOOKS


@exercise_check
def test_patch_residual_component(patch_residual_component: Callable) -> None:
    """Check the hook that patches one position of the residual stream, or of a layer's output.

    It is called with small random activations, for resid_pre, attn_out and mlp_out, every position and two layers: the
    asked position must equal the clean cache, all else the corrupted activation, exactly. Takes a fraction of a second.
    """
    check_hook(patch_residual_component, HOOKS["patch_residual_component"])


@exercise_check
def test_get_act_patch_resid_pre(get_act_patch_resid_pre: Callable) -> None:
    """Check the sweep over layers and positions against `transformer_lens.patching.get_act_patch_resid_pre`.

    On tiny random models first, then on the loaded model and the 8 IOI prompts: 180 patched runs on a model of 12
    layers, about 2 seconds on ioi-mini and a quarter of a minute on gpt2-small.
    """
    check_sweep(get_act_patch_resid_pre, EXERCISE_SWEEPS["get_act_patch_resid_pre"])


@exercise_check
def test_get_act_patch_block_every(get_act_patch_block_every: Callable) -> None:
    """Check the sweep over resid_pre, attn_out and mlp_out against `transformer_lens.patching`'s of the same name.

    On tiny random models first, then on the loaded model and the 8 IOI prompts: 540 patched runs on a model of 12
    layers, about 5 seconds on ioi-mini and three quarters of a minute on gpt2-small.
    """
    check_sweep(get_act_patch_block_every, EXERCISE_SWEEPS["get_act_patch_block_every"])
