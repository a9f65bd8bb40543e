"""Bonus points count beyond the maximum."""

from pathlib import Path

import nbformat
import pytest
from traitlets.config import Config

from grading.bonus import AwardBonus, OmitBonus, Points, bonus_points
from grading.course import course_of, read_settings
from grading.preprocessors import AUTOGRADE
from selftests import REPOSITORY
from selftests.grading.tiny_class import make_cell
from tests.exercises import EXERCISES

WORTH = {"check_a_bonus": 3, "check_b_bonus": 1, "check_c_bonus": 0.5}


def points_after(kind: type, points: float) -> dict[str, float]:
    """Return the points of a notebook's checks after a preprocessor, all of which had these before."""
    cells = [make_cell("", name, grade=True, points=points) for name in ("check_a", *WORTH)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), *cells])
    notebook, _ = kind(config=Config(BonusPoints={"points": WORTH})).preprocess(notebook, {})
    return {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points for cell in notebook.cells[1:]}


def test_a_release_takes_the_bonus_out_of_the_maximum():
    assert points_after(OmitBonus, 2) == {"check_a": 2} | dict.fromkeys(WORTH, 0)


def test_grading_awards_what_a_bonus_check_is_worth():
    assert points_after(AwardBonus, 0) == {"check_a": 0} | WORTH
    assert AUTOGRADE[0] is AwardBonus, "nbgrader determines the grade by these points"


def test_the_courses_bonus_checks_are_those_of_the_table_of_exercises(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPOSITORY)
    bonus = {exercise.check_cell: exercise.points for exercise in EXERCISES if exercise.bonus}
    app = read_settings()
    assert course_of(app).bonus == bonus and len(bonus) >= 3
    assert OmitBonus in app.config.GenerateAssignment.preprocessors


def test_the_exercises_leave_the_bonus_out_of_the_maximum():
    folder = REPOSITORY / "exercises" / "activation_patching"
    assert set(bonus_points(folder).values()) == {0} and set(bonus_points(folder)) == {
        exercise.check_cell for exercise in EXERCISES if exercise.bonus
    }


def test_without_notebooks_there_is_no_bonus(tmp_path: Path):
    assert bonus_points(tmp_path) == {}


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (Points(30, 32, 2), "30 of 32 points, 2 bonus"),
        (Points(0, 4, 0), "0 of 4 points"),
        (Points(2.5, 4, 0.5), "2.5 of 4 points, 0.5 bonus"),
    ],
)
def test_bonus_points_stand_apart(points: Points, text: str):
    assert str(points) == text
