"""The registry of exercises and the notebooks agree; what does not is named with what to change."""

import json
import re
from functools import partial

import nbformat
import pytest
from nbgrader.utils import is_grade, is_solution

import tests
from grading.written_answers import WRITTEN_ANSWER, is_optional
from selftests import REPOSITORY
from tests.exercises import EXERCISES, Exercise

SOLUTIONS = REPOSITORY / "solutions" / "activation_patching"


def solution_metadata(exercise: Exercise) -> dict:
    """nbgrader's metadata of the cell in which an exercise is solved."""
    return {
        "grade": False,
        "grade_id": exercise.name,
        "locked": False,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }


def check_metadata(exercise: Exercise) -> dict:
    """nbgrader's metadata of an exercise's check cell."""
    return {
        "grade": True,
        "grade_id": exercise.check_cell,
        "locked": True,
        "points": exercise.points,
        "schema_version": 3,
        "solution": False,
        "task": False,
    }


def written_metadata(points: int, grade_id: str) -> dict:
    """nbgrader's metadata of a written answer, which is graded by hand."""
    return {
        "grade": True,
        "grade_id": grade_id,
        "locked": False,
        "points": points,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }


def missing_call(check: nbformat.NotebookNode, exercise: Exercise) -> str:
    """What a check cell does not call and should; empty where it calls all."""
    if f"tests.test_{exercise.name}({exercise.name}" not in check.source:
        return f"tests.test_{exercise.name}"
    hidden = "".join(re.findall("^### BEGIN HIDDEN TESTS\n(.*?)^### END HIDDEN TESTS", check.source, re.M | re.S))
    if hasattr(tests.hidden, f"test_{exercise.name}") and f"hidden.test_{exercise.name}({exercise.name}" not in hidden:
        return f"tests.hidden.test_{exercise.name}, between ### BEGIN HIDDEN TESTS and ### END HIDDEN TESTS"
    return ""


def problems(notebook: nbformat.NotebookNode, name: str, exercises: list[Exercise]) -> list[str]:
    """One sentence for each disagreement between a notebook and its exercises."""
    cells = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    found = []
    for exercise in exercises:
        metadata, check = check_metadata(exercise), cells.get(exercise.check_cell)
        if exercise.name not in cells or not is_solution(cells[exercise.name]):
            found.append(
                f"{name} has no cell in which {exercise.name} is solved. Its metadata would say "
                f"{json.dumps({'nbgrader': solution_metadata(exercise)})}."
            )
        if check is None or check.metadata.nbgrader != metadata:
            found.append(
                f"{name} should have a cell whose metadata say {json.dumps({'nbgrader': metadata})}: that is what "
                "tests/exercises.py says of it."
            )
        elif call := missing_call(check, exercise):
            found.append(f"The cell {exercise.check_cell} of {name} should call {call}.")
    registered = {exercise.check_cell for exercise in exercises}
    for grade_id in sorted(set(cells) - registered):
        cell = cells[grade_id]
        if is_optional(cell):
            metadata = written_metadata(cell.metadata.nbgrader.get("points", 1), grade_id)
            if cell.cell_type != "markdown" or cell.metadata.nbgrader != metadata:
                found.append(
                    f"{name} has a written answer {grade_id}: it should be a markdown cell whose metadata say "
                    f"{json.dumps({'nbgrader': metadata})}."
                )
        elif is_grade(cell):
            found.append(f"{name} has a check cell {grade_id}, which is not in tests/exercises.py: add its row there.")
    return found


@pytest.mark.parametrize("file", sorted(SOLUTIONS.glob("*.ipynb")), ids=lambda file: file.stem)
def test_the_notebook_has_the_cells_of_its_exercises(file):
    exercises = [exercise for exercise in EXERCISES if exercise.notebook == file.stem]
    found = problems(nbformat.read(file, as_version=4), file.stem, exercises)
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_each_disagreement_is_named():
    file = SOLUTIONS / "01_ioi_metric.ipynb"
    (exercise,) = (exercise for exercise in EXERCISES if exercise.notebook == file.stem)

    def found(change, exercises=(exercise,)):
        notebook = nbformat.read(file, as_version=4)
        change({cell.id: cell for cell in notebook.cells})
        return " ".join(problems(notebook, file.stem, list(exercises)))

    def no_solution(cells):
        cells["ioi-metric"].metadata.nbgrader.solution = False

    def other_points(cells):
        cells["check-ioi-metric"].metadata.nbgrader.points = 5

    def no_call(cells):
        cells["check-ioi-metric"].source = "print()"

    def written_answer(cells, tags=(WRITTEN_ANSWER,), **marks):
        cells["ioi-metric"].cell_type = "markdown"
        cells["ioi-metric"].metadata.tags = list(tags)
        cells["ioi-metric"].metadata.nbgrader = written_metadata(2, "written") | marks

    def hidden_call_in_sight(cells):
        cells["check-ioi-metric"].source = "tests.test_ioi_metric(ioi_metric)\ntests.hidden.test_ioi_metric(ioi_metric)"

    assert found(lambda cells: None) == ""
    assert '"grade_id": "ioi_metric"' in found(no_solution)
    assert '"points": 4' in found(other_points)
    assert "written" not in found(written_answer)
    assert "has a written answer written: it should be a markdown cell" in found(partial(written_answer, locked=True))
    assert "has a check cell written, which is not in" in found(partial(written_answer, tags=()))
    assert "should call tests.test_ioi_metric." in found(no_call)
    assert "should call tests.hidden.test_ioi_metric, between" in found(hidden_call_in_sight)
    assert "check_ioi_metric, which is not in tests/exercises.py" in found(lambda cells: None, exercises=())


def test_each_exercise_has_its_check_and_each_check_its_exercise():
    checks = {name for name in tests.__all__ if name.startswith("test_")}
    exercises = {f"test_{exercise.name}" for exercise in EXERCISES}
    missing, unknown = exercises - checks, checks - exercises
    assert not missing, "tests/__init__.py should import these and name them in __all__"
    assert not unknown, "tests/__init__.py names these, of which tests/exercises.py has no exercise"
    assert all(getattr(tests, name).__doc__ for name in checks)


def test_each_row_has_its_own_check_cell():
    assert len({exercise.check_cell for exercise in EXERCISES}) == len(EXERCISES)
