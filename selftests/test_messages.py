"""The messages on the most usual slips, word by word, and what a learner sees of them in a notebook.

Each slip is an answer in `answers/wrong`. Its message says what was checked, what should have come out and what did,
and gives one hint. The numbers come from seeded generators.
"""

import functools
import io
import re
from contextlib import redirect_stderr, redirect_stdout

import jaxtyping
import nbformat
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from selftests import REPOSITORY
from selftests.answer_bank import (
    ANSWERS,
    check_of,
    exercise_of,
    headline,
    names_put_back,
    notebook_variables,
    refusal,
)
from selftests.edited_solutions import EDITS
from tests.checks.checking import CheckFailed, show, two_texts
from tests.checks.notebooks import read_functions
from tests.checks.sweeps import SHOW
from tests.exercises import FUNCTIONS

SOLUTIONS = REPOSITORY / "solutions" / "activation_patching"

ON_LOGITS = "ioi_metric on random logits of shape [3 5 11], with all four arguments"
ON_A_TINY_MODEL = "on a random model with 2 layers and 3 heads, 4 prompts of 6 tokens"
RESID_PRE, HEAD_OUT = "get_act_patch_resid_pre", "get_act_patch_attn_head_out_all_pos"


def unequal(name: str) -> str:
    return f"{name} equals transformer_lens.patching.{name} {ON_A_TINY_MODEL}"


# The slip as its file names it; then what was checked, what was expected, what came out, and the hint.
SLIPS = {
    "path_patch__leaks_through_other_heads": (
        "Freezes nothing: the senders reach the receivers through other heads too.",
        'path_patch from 0.1 to "q" of 3.0 on a random model with 4 layers and 2 heads, 3 prompts of 5 tokens',
        "2.77602053 at prompt 0, pos 1, token 0; 3.3858 at prompt 0, pos 1, token 1; -1.3419 at prompt 0, pos 1, "
        "token 2",
        "2.77598214 at prompt 0, pos 1, token 0; 3.3850 at prompt 0, pos 1, token 1; -1.3425 at prompt 0, pos 1, "
        "token 2 (371 of 465 entries differ)",
        "other heads pass on what the senders write: in the first run freeze every other head at its corrupted output",
    ),
    "mean_ablate__own_means": (
        "Takes the means over the prompts of this run.",
        f"mean_ablate of 0.1 {ON_A_TINY_MODEL}",
        "-4.7198 at prompt 0, pos 1, token 0; 0.0338 at prompt 0, pos 1, token 1; -0.8067 at prompt 0, pos 1, token 2",
        "-5.4236 at prompt 0, pos 1, token 0; 0.2858 at prompt 0, pos 1, token 1; -0.0134 at prompt 0, pos 1, token 2 "
        "(620 of 744 entries differ)",
        "the means of this very run say something about its prompts: use the argument `means`",
    ),
    "exchange_names__by_name": (
        "Exchanges the two names wherever they stand.",
        "exchange_names exchanges the tokens at first[i] and second[i] in prompt i and leaves all others",
        "prompt 0, first 1, second 0, [18, 30, 30, 14, 27] becomes [30, 18, 30, 14, 27]",
        "[30, 18, 18, 14, 27]",
        "the third name is exchanged as well: exchange by position, not by name",
    ),
    "self_repair__total_first": (
        "The first part contains the second.",
        f"self_repair of 0.1 with 1.0, 1.2 as negative heads {ON_A_TINY_MODEL}",
        "-0.5629 at the other heads' part",
        "-0.4284 at the other heads' part (1 of 2 entries differ)",
        "the first part contains the second: the negative heads stay frozen in it",
    ),
    "ioi_metric__python_float": (
        "Returns a Python number.",
        f"{ON_LOGITS}, returns a 0-dimensional tensor",
        "a tensor of shape [] and type torch.float32",
        "a float: 0.5809779167175293",
        "return the tensor, not a Python number: remove .item() and float()",
    ),
    "ioi_metric__per_prompt": (
        "Does not average over the prompts.",
        f"{ON_LOGITS}, returns a 0-dimensional tensor",
        "a tensor of shape [] and type torch.float32",
        "a tensor of shape [3] and type torch.float32",
        "this is one number for each prompt: return their .mean()",
    ),
    "ioi_metric__not_normalised": (
        "The logit difference itself.",
        ON_LOGITS,
        "0.5810",
        "0.3978",
        "this is the logit difference itself: move and scale it to 0 (corrupted) and 1 (clean)",
    ),
    "ioi_metric__sign": (
        "Incorrect minus correct.",
        ON_LOGITS,
        "0.5810",
        "-0.5810",
        "the sign is flipped: correct minus incorrect, and clean minus corrupted",
    ),
    "ioi_metric__swapped_ends": (
        "0 on the clean run and 1 on the corrupted run.",
        ON_LOGITS,
        "0.5810",
        "0.4190",
        "0 and 1 are swapped: 0 belongs to the corrupted run",
    ),
    "ioi_metric__first_position": (
        "Reads the logits at position 0.",
        ON_LOGITS,
        "0.5810",
        "0.4749",
        "read the logits at END, the last position",
    ),
    "ioi_metric__no_shift": (
        "Scales but does not subtract.",
        ON_LOGITS,
        "0.5810",
        "0.0497",
        "subtract corrupted_logit_diff from the logit difference too",
    ),
    "ioi_metric__wrong_divisor": (
        "Divides by the clean logit difference.",
        ON_LOGITS,
        "0.5810",
        "1.2394",
        "divide by clean_logit_diff - corrupted_logit_diff",
    ),
    "ioi_metric__sum_over_prompts": (
        "Adds up the prompts in place of averaging.",
        ON_LOGITS,
        "0.5810",
        "0.6804",
        "average over the prompts, do not sum",
    ),
    "patch_residual_component__returns_none": (
        "Edits in place and returns nothing.",
        "patch_residual_component returns the whole activation, [batch pos d_model]",
        "a tensor of shape [2, 5, 7] and type torch.float32",
        "None",
        "end with `return`",
    ),
    "patch_residual_component__slice_alone": (
        "Returns the slice alone.",
        "patch_residual_component returns the whole activation, [batch pos d_model]",
        "a tensor of shape [2, 5, 7] and type torch.float32",
        "a tensor of shape [2, 7] and type torch.float32",
        "return the whole activation, not only the slice",
    ),
    "patch_residual_component__first_prompt_only": (
        "Patches the first prompt only.",
        "patch_residual_component with pos=2 patches pos 2 of every prompt and nothing else",
        "in pos 2 the clean values: 0.4820 at prompt 1, d_model 0; 0.8198 at prompt 1, d_model 1; 0.9971 at "
        "prompt 1, d_model 2",
        "changed: pos 2, in prompt 0 only; in pos 2: 2.7709 at prompt 1, d_model 0; 2.8970 at prompt 1, d_model "
        "1; 2.8421 at prompt 1, d_model 2 (7 of 14 entries differ)",
        "it changes pos 2, in prompt 0 only: take the other axes whole, with `:`",
    ),
    "patch_residual_component__whole_activation": (
        "Patches every position.",
        "patch_residual_component with pos=2 patches pos 2 of every prompt and nothing else",
        "every other pos as in the corrupted run",
        "changed: every pos",
        "it changes every pos: index axis 1 with pos, on both sides",
    ),
    "patch_residual_component__writes_clean_cache": (
        "Swaps clean and corrupted: writes into the clean cache.",
        "patch_residual_component leaves the clean cache as it was",
        "the clean cache unchanged",
        "the clean cache was changed",
        "the function wrote into it: write to the corrupted activation, or to a new tensor, and return that",
    ),
    "patch_residual_component__bug": (
        "Misspells a name.",
        "patch_residual_component runs without an error",
        "a result",
        "NameError: name 'position' is not defined",
        "it happened in line 4 of patch_residual_component: "
        "corrupted_residual_component[:, position] = clean_cache[hook.name][:, position]",
    ),
    "patch_head_vector__wrong_axis": (
        "Indexes the position axis.",
        "patch_head_vector with head_index=1 patches head 1 of every prompt and nothing else",
        "in head 1 the clean values: 0.8964 at prompt 0, pos 0, d_head 0; 0.4556 at prompt 0, pos 0, d_head 1; "
        "0.6323 at prompt 0, pos 0, d_head 2",
        "changed: every head, in pos 1 only; in head 1: 2.1284 at prompt 0, pos 0, d_head 0; 2.2867 at prompt 0, "
        "pos 0, d_head 1; 2.6801 at prompt 0, pos 0, d_head 2 (56 of 70 entries differ)",
        "it changes every head, in pos 1 only, not head 1: the head axis is axis 2",
    ),
    "patch_attn_patterns__index_constant": (
        "Always patches head 0.",
        "patch_attn_patterns with head_index=1 patches head 1 of every prompt and nothing else",
        "in head 1 the clean values: 0.0317 at prompt 0, pos_q 0, pos_k 0; 0.2081 at prompt 0, pos_q 0, pos_k 1; "
        "0.9298 at prompt 0, pos_q 0, pos_k 2",
        "changed: head 0; in head 1: 2.9173 at prompt 0, pos_q 0, pos_k 0; 2.5269 at prompt 0, pos_q 0, pos_k 1; "
        "2.7371 at prompt 0, pos_q 0, pos_k 2 (70 of 70 entries differ)",
        "it changes head 0, not head 1",
    ),
    "get_act_patch_resid_pre__late_binding": (
        "Functions made in a loop are called after it, and all see the last position.",
        unequal(RESID_PRE),
        "-0.4091 at layer 0, pos 0; -0.7185 at layer 0, pos 1; -0.4091 at layer 0, pos 2",
        "-0.8691 at layer 0, pos 0; -0.8691 at layer 0, pos 1; -0.8691 at layer 0, pos 2 (10 of 12 entries differ)",
        "the entry at layer 0, pos 0 is the metric of a run that patches resid_pre of layer 0 at pos 5, not "
        "resid_pre of layer 0 at pos 0: its hook function reads the variable pos when it is called, and pos is 5 "
        "by then: bind the value when the function is made, with functools.partial",
    ),
    "get_act_patch_resid_pre__partial_rows": (
        "Leaves the last layer out.",
        unequal(RESID_PRE),
        "-0.4091 at layer 1, pos 0; -1.0667 at layer 1, pos 1; 0.1534 at layer 1, pos 2",
        "0.0000 at layer 1, pos 0; 0.0000 at layer 1, pos 1; 0.0000 at layer 1, pos 2 (6 of 12 entries differ)",
        "patching_metric is called 6 times for 12 entries, and the entry at layer 1, pos 0 was never filled in "
        "with a metric",
    ),
    "get_act_patch_resid_pre__metric_of_corrupted_run": (
        "Runs without the hook.",
        unequal(RESID_PRE),
        "-0.7185 at layer 0, pos 1; -0.4670 at layer 0, pos 3; -0.8691 at layer 0, pos 5",
        "-0.4091 at layer 0, pos 1; -0.4091 at layer 0, pos 3; -0.4091 at layer 0, pos 5 (8 of 12 entries differ)",
        "the entry at layer 0, pos 0 is the metric of a run without a patch: pass (get_act_name(...), hook "
        "function) in fwd_hooks of run_with_hooks",
    ),
    "get_act_patch_resid_pre__global_shape": (
        "Makes the table for 12 layers and 15 positions.",
        f"{RESID_PRE} returns [layer pos], {ON_A_TINY_MODEL}",
        "a tensor of shape [2, 6] and type torch.float32",
        "a tensor of shape [12, 15] and type torch.float32",
        "these are the sizes of the loaded model and its prompts, written in: one entry for each patched run, in "
        "this order of axes; layers and heads are numbered by model.cfg, positions by the corrupted tokens",
    ),
    "get_act_patch_resid_pre__calls_patching": (
        "Lets transformer_lens.patching do the work, under another name.",
        f"{RESID_PRE} does its own patching",
        "runs of the model with your own hook function",
        "it called a function of transformer_lens.patching",
        "call model.run_with_hooks yourself, once for each run",
    ),
    "get_act_patch_resid_pre__error_in_library": (
        "Misspells a hook's name, which the library reports.",
        f"{RESID_PRE} runs without an error",
        "a result",
        "KeyError: \"Hook name 'blocks.0.resid_pre' does not exist on this model.\"",
        "it happened in line 18 of get_act_patch_resid_pre: logits = model.run_with_hooks(corrupted_tokens, "
        'fwd_hooks=[(f"blocks.{layer}.resid_pre", hook_fn)]); get_act_name gives the full name of a hook point, '
        'as in get_act_name("mlp_out", 3)',
    ),
    "get_act_patch_attn_head_out_all_pos__head_constant": (
        "Patches head 0 in every column.",
        unequal(HEAD_OUT),
        "-0.3373 at layer 0, head 1; -1.4185 at layer 0, head 2; -0.3749 at layer 1, head 1",
        "-0.9545 at layer 0, head 1; -0.9545 at layer 0, head 2; -2.3584 at layer 1, head 1 (4 of 6 entries differ)",
        "the entry at layer 0, head 1 is the metric of a run that patches z of layer 0 at head 0, not z of layer "
        "0 at head 1",
    ),
    "get_act_patch_attn_head_out_all_pos__transposed": (
        "Returns heads by layers.",
        f"{HEAD_OUT} returns [layer head], {ON_A_TINY_MODEL}",
        "a tensor of shape [2, 3] and type torch.float32",
        "a tensor of shape [3, 2] and type torch.float32",
        "the axes should be [layer head]",
    ),
    "get_act_patch_block_every__order": (
        "attn_out and mlp_out have changed places.",
        unequal("get_act_patch_block_every"),
        "-1.1716 at attn_out, layer 0, pos 1; 0.1534 at attn_out, layer 0, pos 2; -0.1513 at attn_out, layer 0, pos 3",
        "-1.0991 at attn_out, layer 0, pos 1; -0.0811 at attn_out, layer 0, pos 2; -0.7974 at attn_out, layer 0, pos 3 "
        "(12 of 36 entries differ)",
        "the order is resid_pre, attn_out, mlp_out, but mlp_out stands in the place of attn_out",
    ),
    "plot_mean_attention__imshow": (
        "Shows the figure in place of returning it.",
        f"plot_mean_attention draws head 1.0 {ON_A_TINY_MODEL}",
        "a plotly figure with heat maps, such as utils.heat_map returns",
        "None",
        "return what utils.heat_map returns: utils.imshow and .show() show a figure and return None",
    ),
    "plot_mean_attention__prompt_0": (
        "Draws prompt 0 alone.",
        f"plot_mean_attention draws head 1.0 {ON_A_TINY_MODEL}",
        "0.5177 at head 1.0, row 1, column 0; 0.4823 at head 1.0, row 1, column 1; 0.1992 at head 1.0, row 2, column 0",
        "0.2136 at head 1.0, row 1, column 0; 0.7864 at head 1.0, row 1, column 1; "
        "0.0000 at head 1.0, row 2, column 0 (20 of 36 entries differ)",
        "average over the prompts: this is a single prompt",
    ),
    "plot_mean_attention__sorted_heads": (
        "Draws the heads by layer, not in the order given.",
        f"plot_mean_attention draws head 1.1, head 0.1, head 1.0 {ON_A_TINY_MODEL}",
        "0.4410 at head 1.1, row 1, column 0; 0.5590 at head 1.1, row 1, column 1; 0.2958 at head 1.1, row 2, column 0",
        "0.4182 at head 1.1, row 1, column 0; 0.5818 at head 1.1, row 1, column 1; "
        "0.3828 at head 1.1, row 2, column 0 (60 of 108 entries differ)",
        "keep the order of the heads: head 0.1 is in the place of head 1.1",
    ),
}

# Answers with an error, and the learner's line that raised it, be it directly or through a library or our helpers.
LINES = {
    "patch_residual_component__bug": "corrupted_residual_component[:, position] = ",
    "ioi_metric__bare_assertion": "assert logits is None",
    "ioi_metric__error_in_given_helper": "return utils.logits_to_ave_logit_diff(answer_tokens, logits)",
    "get_act_patch_resid_pre__error_in_library": 'fwd_hooks=[(f"blocks.{layer}.resid_pre", hook_fn)]',
    "get_act_patch_resid_pre__error_in_metric": "results[layer, pos] = patching_metric(logits[:, -1])",
}


@pytest.fixture(scope="module")
def notebook() -> dict[str, object]:
    return notebook_variables()


@functools.cache
def solution(name: str) -> tuple[str, dict[str, object]]:
    """The source of an exercise's solution, and what its notebook defines."""
    notebook = SOLUTIONS / f"{FUNCTIONS[name].notebook}.ipynb"
    cells = nbformat.read(notebook, as_version=4).cells
    source = next(cell.source for cell in cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)
    with redirect_stdout(io.StringIO()):
        return source, read_functions(notebook).names


def hint_on(name: str, edits: dict[str, str]) -> str:
    """The hint of the check on a solution with some text replaced, in a notebook where a loop has left `layer`."""
    source, names = solution(name)
    for old, new in edits.items():
        assert old in source
        source = source.replace(old, new)
    names = {**names, "layer": 1}
    exec(compile(source, "an edited solution", "exec"), names)
    with names_put_back(), redirect_stdout(io.StringIO()), pytest.raises(CheckFailed) as failed:
        check_of(name, in_full=False)(names[name])
    first = failed.value.parts[-1].splitlines()[0]
    return re.sub(r"^it happened in line \d+ of .*?; ", "", first)


@pytest.mark.parametrize(("name", "edits", "hint"), EDITS)
def test_hint_on_an_edited_solution(name, edits, hint, monkeypatch):
    # As for a student: shapes that are checked at run time would raise before the metric does.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert hint_on(name, edits) == hint


def message_on(slip: str, notebook: dict[str, object]) -> str | None:
    return refusal(ANSWERS / f"wrong/{slip}.py", notebook, in_full=False)


@pytest.mark.parametrize("slip", SLIPS)
def test_message(slip, notebook):
    what, checked, expected, actual, hint = SLIPS[slip]
    assert headline(ANSWERS / f"wrong/{slip}.py") == what
    # Where two maps differ, the message says how to see them.
    show = SHOW.format(exercise_of(ANSWERS / slip)) if "equals transformer_lens.patching" in checked else ""
    assert message_on(slip, notebook) == (
        f"{checked}\n  expected: {expected}\n  actual:   {actual}\n  hint:     {hint}{show}"
    )


@pytest.mark.parametrize(
    ("slip", "name"),
    [
        ("ioi_metric__stub", "ioi_metric"),
        ("get_act_patch_block_every__stub", "get_act_patch_block_every"),
        # The sweep is written; what is missing is the hook it calls.
        ("get_act_patch_resid_pre__hook_stub", "patch_residual_component"),
    ],
)
def test_message_on_an_exercise_not_begun(slip, name, notebook):
    assert message_on(slip, notebook) == f"{name} is not implemented yet: fill in its cell, run it, and run this again."


def test_more_than_eighty_slips_in_every_kind_of_exercise():
    assert len(SLIPS) == 33
    assert len(EDITS) > 50
    kinds = {exercise_of(ANSWERS / slip).split("_")[0] for slip in SLIPS}
    assert kinds == {"ioi", "patch", "get", "plot", "path", "mean", "exchange", "self"}


@pytest.mark.parametrize(
    ("expected", "actual", "texts"),
    [
        (0.25, -0.25, ("0.2500", "-0.2500")),
        (1.0, -1e-7, ("1.0000", "0.0000")),  # no -0.0000
        (0.5, 0.500011, ("0.5", "0.500011")),  # four digits would show the same number twice
        (0.0, -1e-7, ("0", "-1e-07")),
        (1.0, float("nan"), ("1.0000", "nan")),
    ],
)
def test_two_numbers_are_shown_in_as_few_digits_as_tell_them_apart(expected, actual, texts):
    assert two_texts(expected, actual) == texts


def test_the_first_entries_that_differ_are_shown():
    expected, actual = torch.zeros(2, 2, 4), torch.zeros(2, 2, 4)
    actual[1, 0, 3] = actual[1, 1] = 1.0
    assert show(actual, expected, actual != expected, "component layer pos", ("z", "q")) == (
        "0.0000 at q, layer 0, pos 3; 0.0000 at q, layer 1, pos 0; 0.0000 at q, layer 1, pos 1",
        "1.0000 at q, layer 0, pos 3; 1.0000 at q, layer 1, pos 0; 1.0000 at q, layer 1, pos 1 "
        "(5 of 16 entries differ)",
    )


@pytest.mark.parametrize("slip", LINES)
def test_ipython_shows_the_learners_line_and_none_of_ours(slip, notebook):
    answer = ANSWERS / f"wrong/{slip}.py"
    name, shown = exercise_of(answer), io.StringIO()
    shell = InteractiveShell()
    shell.push(notebook)
    with names_put_back(), redirect_stdout(shown), redirect_stderr(shown):
        shell.run_cell("import tests")
        shell.run_cell(answer.read_text(encoding="utf-8"))
        result = shell.run_cell(f"tests.test_{name}({name})")
    assert isinstance(result.error_in_exec, CheckFailed)
    text = shown.getvalue()
    assert text.count(LINES[slip]) == 1
    assert len(text.splitlines()) == 4
    assert [word for word in ("Traceback", ".py", "site-packages", "call_with", "raise ") if word in text] == []
