"""A sample of the bank through nbgrader; `python -m selftests.bank` grades all of it."""

from collections import Counter
from pathlib import Path

import pytest

from grading.demo import demo_class as demo
from selftests import bank, bank_grading
from selftests.answer_bank import RIGHT, WRONG, exercise_of
from tests.exercises import FUNCTIONS

ALL = [*RIGHT, *WRONG, *bank_grading.CELLS]
# One submission of two short notebooks; 03 has one wrong and one right answer.
WRONG_HOOK = next(answer for answer in bank_grading.CELLS if answer.stem == "patch_head_vector__ends_in_a_number")
SAMPLE = [WRONG_HOOK, next(answer for answer in bank_grading.CELLS if exercise_of(answer) == "ioi_metric")]


@pytest.mark.slow
def test_sample_of_answers_gets_its_expected_points(tmp_path: Path):
    submitted = bank_grading.submissions(SAMPLE)
    assert len(submitted) == 1
    assert bank_grading.grade(tmp_path / "course", submitted) == []
    assert bank_grading.differences_from_make_grade(tmp_path / "course") == []


def test_scores_that_differ_from_nbgraders_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "course" / "submitted" / "ann").mkdir(parents=True)
    points = {"course": {"one": (3, 3), "two": (1, 1)}, "course_by_make_grade": {"one": (0, 3), "two": (1, 1)}}
    monkeypatch.setattr(demo, "make_course", lambda folder: folder.mkdir())
    monkeypatch.setattr(demo, "read_points", lambda folder, student: {"notebook": points[folder.name]})
    monkeypatch.setattr(demo, "grading_arguments", lambda folder: [])
    monkeypatch.setattr(bank_grading.subprocess, "run", lambda *arguments, **options: None)
    expected = ["ann, one: (0, 3) instead of nbgrader's (3, 3)"]
    assert bank_grading.differences_from_make_grade(tmp_path / "course") == expected


def test_every_answer_is_submitted_once():
    submitted = [answer for submission in bank_grading.submissions(ALL) for answer in submission.values()]
    assert Counter(submitted) == Counter(ALL)


def test_submissions_mix_right_and_wrong_answers():
    verdicts = [
        {bank_grading.earns_points(name, submission.get(name)) for name in bank_grading.scored_exercises(submission)}
        for submission in bank_grading.submissions(ALL)
    ]
    assert sum(len(verdict) == 2 for verdict in verdicts) > len(verdicts) / 2


@pytest.mark.parametrize("answer", bank_grading.CELLS, ids=lambda answer: answer.stem)
def test_an_answer_made_of_cells_states_its_points_and_changes_its_exercise_only(answer: Path):
    name = exercise_of(answer)
    assert answer.read_text(encoding="utf-8").splitlines()[1] in ("# points: all", "# points: none")
    assert {name} <= set(bank_grading.cells_of(answer)) <= {name, bank_grading.CHECK_OF[name]}


def test_a_sweeps_cell_contains_its_hook():
    cells = bank_grading.solutions_apart("02_residual_stream")
    assert set(cells) == {"patch_residual_component", "get_act_patch_resid_pre"}
    assert "def patch_residual_component(" in cells["get_act_patch_resid_pre"]
    assert "SOLUTION" not in "".join(cells.values())


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0, []), (3, ["patch_head_vector__ends_in_a_number got 3 points instead of 0 (beside nothing)"])],
)
def test_unexpected_scores_are_reported(score: int, expected: list[str]):
    others = [exercise for exercise in FUNCTIONS.values() if exercise.notebook == "03_attention_heads"]
    points = {other.check_cell: (0 if other.bonus else other.points, other.points) for other in others}
    points["check_patch_head_vector"] = (score, 3)
    found = bank_grading.unexpected_scores(
        {"patch_head_vector": WRONG_HOOK}, demo.source("03_attention_heads").parent, points
    )
    assert [line.split(":")[0] for line in found] == expected


@pytest.mark.parametrize(
    ("survivors", "unexpected", "code"), [([], [], 0), (["one is accepted"], [], 1), ([], ["one got 3 points"], 1)]
)
def test_exit_code_is_1_for_survivors_and_unexpected_scores(
    survivors: list[str], unexpected: list[str], code: int, monkeypatch: pytest.MonkeyPatch
):
    for name in ("OMP_NUM_THREADS", "IOI_MODEL", "IOI_CACHE"):
        monkeypatch.setenv(name, "restored by monkeypatch")
    monkeypatch.setattr(bank, "on_the_checks", lambda: survivors)
    monkeypatch.setattr(bank, "through_nbgrader", lambda folder: unexpected)
    assert bank.main() == code


def test_survivors_are_counted_and_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Checks that accept wrong answers and reject a right one are detected."""
    right, wrong = RIGHT[:1], WRONG[:2]
    messages = {right[0]: "it is wrong", wrong[0]: None, wrong[1]: "words"}
    monkeypatch.setattr(bank, "RIGHT", right)
    monkeypatch.setattr(bank, "WRONG", wrong)
    monkeypatch.setattr(bank, "notebook_variables", lambda: {"model": None, "data": None})
    monkeypatch.setattr(bank.utils, "reference_sweep", lambda *arguments: None)
    monkeypatch.setattr(bank, "refusal", lambda answer, notebook, in_full: messages[answer])
    assert len(bank.on_the_checks()) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith((" ", "Computing"))] == [
        "right answers accepted: 0 of 1",
        "wrong answers refused: 1 of 2",
        "messages that name the trouble: 0 of 1",
    ]
