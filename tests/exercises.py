"""The exercises, one row each: where each stands, what it is worth, and how it is checked.

The lists of exercises, points, hooks and sweeps elsewhere are derived from this table.
"""

from dataclasses import dataclass, replace

from utils.sweep_specs import BLOCK_COMPONENTS, HEAD_COMPONENTS, SWEEPS, SweepSpec

RESID_PRE_FAST = replace(SWEEPS["get_act_patch_resid_pre"], name="get_act_patch_resid_pre_fast")
"""The learner's own fast sweep of notebook 09."""
SWEEP_ARGUMENTS = ("model", "corrupted_tokens", "clean_cache", "patching_metric")


@dataclass(frozen=True)
class Exercise:
    """What a learner writes, and the cell that checks it."""

    name: str
    """The function or variable that the learner writes; also the grade id of that cell."""
    notebook: str
    points: int
    arguments: tuple[str, ...] = ()
    """The documented arguments, in order."""
    bonus: bool = False
    part: str = ""
    """What the cell checks of an exercise with several check cells."""
    activations: tuple[str, ...] = ()
    """Of a hook function: the activations it must work for."""
    axes: str = ""
    """Of a hook function: the axes of these activations."""
    sweep: SweepSpec | None = None
    """Of a sweep: its row in the table of sweeps."""
    also: tuple[str, ...] = ()
    """Of a variable: further variables of its cell or of another one, which the check takes too."""

    @property
    def check_cell(self) -> str:
        """The grade id of the check cell."""
        part = self.part.replace(" ", "_").replace("-", "_")
        return "_".join(["check", self.name, *([part] if part else []), *(["bonus"] if self.bonus else [])])


EXERCISES = (
    Exercise(
        "ioi_metric",
        "01_ioi_metric",
        points=4,
        arguments=("logits", "answer_tokens", "corrupted_logit_diff", "clean_logit_diff"),
    ),
    Exercise(
        "patch_residual_component",
        "02_residual_stream",
        points=3,
        arguments=("corrupted_residual_component", "hook", "pos", "clean_cache"),
        activations=BLOCK_COMPONENTS,
        axes="batch pos d_model",
    ),
    Exercise(
        "get_act_patch_resid_pre",
        "02_residual_stream",
        points=3,
        arguments=SWEEP_ARGUMENTS,
        sweep=SWEEPS["get_act_patch_resid_pre"],
    ),
    Exercise(
        "get_act_patch_block_every",
        "02_residual_stream",
        points=3,
        bonus=True,
        arguments=SWEEP_ARGUMENTS,
        sweep=SWEEPS["get_act_patch_block_every"],
    ),
    Exercise(
        "patch_head_vector",
        "03_attention_heads",
        points=3,
        arguments=("corrupted_head_vector", "hook", "head_index", "clean_cache"),
        activations=tuple(component for component in HEAD_COMPONENTS if component != "pattern"),
        axes="batch pos head_index d_head",
    ),
    Exercise(
        "get_act_patch_attn_head_out_all_pos",
        "03_attention_heads",
        points=3,
        arguments=SWEEP_ARGUMENTS,
        sweep=SWEEPS["get_act_patch_attn_head_out_all_pos"],
    ),
    Exercise(
        "patch_attn_patterns",
        "04_attention_patterns",
        points=3,
        arguments=("corrupted_pattern", "hook", "head_index", "clean_cache"),
        activations=("pattern",),
        axes="batch head_index pos_q pos_k",
    ),
    Exercise(
        "get_act_patch_attn_head_all_pos_every",
        "04_attention_patterns",
        points=3,
        bonus=True,
        arguments=SWEEP_ARGUMENTS,
        sweep=SWEEPS["get_act_patch_attn_head_all_pos_every"],
    ),
    Exercise("plot_mean_attention", "04_attention_patterns", points=3, arguments=("cache", "heads", "labels")),
    Exercise("my_map", "04_attention_patterns", points=2, also=("my_sweep",)),
    Exercise("early_heads_figure", "05_circuit", points=1),
    Exercise("my_circuit", "05_circuit", points=1, part="duplicate token"),
    Exercise("my_circuit", "05_circuit", points=1, part="induction"),
    Exercise("my_circuit", "05_circuit", points=2, part="s-inhibition"),
    Exercise("my_circuit", "05_circuit", points=2, part="name mover"),
    Exercise("my_circuit", "05_circuit", points=1, part="negative name mover"),
    Exercise("my_circuit", "05_circuit", points=1, bonus=True, part="previous token"),
    Exercise(
        "path_patch",
        "06_testing_the_circuit",
        points=1,
        bonus=True,
        arguments=("model", "corrupted_tokens", "clean_cache", "senders", "receivers", "component"),
    ),
    Exercise(
        "mean_ablate",
        "06_testing_the_circuit",
        points=1,
        bonus=True,
        arguments=("model", "tokens", "means", "heads"),
    ),
    Exercise("exchange_names", "06_testing_the_circuit", points=1, bonus=True, arguments=("tokens", "first", "second")),
    Exercise(
        "self_repair",
        "06_testing_the_circuit",
        points=1,
        bonus=True,
        arguments=("model", "tokens", "clean_cache", "means", "ablated", "negative", "metric"),
    ),
    Exercise("kl_to_clean", "07_testing_the_evidence", points=1, bonus=True, arguments=("logits", "clean_logits")),
    Exercise("surviving_claims", "07_testing_the_evidence", points=1, bonus=True),
    Exercise(
        "added_cost",
        "07_testing_the_evidence",
        points=1,
        bonus=True,
        arguments=("logit_diff_without", "heads", "others"),
    ),
    Exercise(
        "probability_change",
        "07_testing_the_evidence",
        points=1,
        bonus=True,
        arguments=("model", "clean_tokens", "corrupted_cache", "answer_tokens", "head"),
    ),
    Exercise(
        "patch_with_frozen",
        "07_testing_the_evidence",
        points=1,
        bonus=True,
        arguments=("model", "corrupted_tokens", "clean_cache", "patched", "frozen"),
    ),
    Exercise("my_mystery_circuit", "08_mystery_model", points=1, bonus=True, part="duplicate token", also=("my_seed",)),
    Exercise("my_mystery_circuit", "08_mystery_model", points=1, bonus=True, part="induction", also=("my_seed",)),
    Exercise("my_mystery_circuit", "08_mystery_model", points=1, bonus=True, part="s-inhibition", also=("my_seed",)),
    Exercise("my_mystery_circuit", "08_mystery_model", points=1, bonus=True, part="name mover", also=("my_seed",)),
    Exercise(
        "my_mystery_circuit", "08_mystery_model", points=1, bonus=True, part="negative name mover", also=("my_seed",)
    ),
    Exercise("my_mystery_circuit", "08_mystery_model", points=1, bonus=True, part="faithfulness", also=("my_seed",)),
    Exercise("run_from_layer", "09_fast_sweeps", points=1, bonus=True, arguments=("model", "residual", "layer")),
    Exercise(
        "get_act_patch_resid_pre_fast",
        "09_fast_sweeps",
        points=1,
        bonus=True,
        arguments=SWEEP_ARGUMENTS,
        sweep=RESID_PRE_FAST,
    ),
)

FUNCTIONS = {exercise.name: exercise for exercise in EXERCISES if exercise.arguments}
"""The exercises in which a function is written, by its name."""
HOOKS = {name: exercise for name, exercise in FUNCTIONS.items() if exercise.activations}
EXERCISE_SWEEPS = {
    name: exercise.sweep
    for name, exercise in FUNCTIONS.items()
    if exercise.sweep and name in SWEEPS  # not the learner's own fast sweep
}
NOTEBOOKS = tuple(dict.fromkeys(exercise.notebook for exercise in EXERCISES))
"""The notebooks with exercises, in order."""
