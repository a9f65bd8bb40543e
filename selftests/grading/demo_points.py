"""The points of the real course's checks, and the checks that each student of the demo passes."""

from tests.exercises import EXERCISES, NOTEBOOKS

POINTS = {
    notebook: {exercise.check_cell: exercise.points for exercise in EXERCISES if exercise.notebook == notebook}
    for notebook in NOTEBOOKS
}
EVERY_CHECK = {name for cells in POINTS.values() for name in cells}
PASSED = {
    "all_right": EVERY_CHECK,
    "half_done": {"check_ioi_metric", "check_patch_residual_component", "check_get_act_patch_resid_pre"},
    "typical_mistakes": {
        "check_get_act_patch_resid_pre",
        "check_patch_head_vector",
        "check_patch_attn_patterns",
        "check_plot_mean_attention",
        "check_my_map",
        "check_run_from_layer_bonus",
        "check_get_act_patch_resid_pre_fast_bonus",
        "check_early_heads_figure",
        "check_my_circuit_duplicate_token",
        "check_my_circuit_induction",
        "check_my_circuit_s_inhibition",
        "check_my_circuit_negative_name_mover",
    },
    "untouched": set(),
}


def expected_points(student: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Return a student's points and the maximum of each check, by notebook."""
    return {
        notebook: {check: (points if check in PASSED[student] else 0, points) for check, points in checks.items()}
        for notebook, checks in POINTS.items()
    }
