"""The bank of answers as submissions, graded by nbgrader.

A submission has at most one answer for each exercise, right ones beside wrong ones, so that it shows whether a wrong
answer costs its own points only. Besides the files that answer_bank.py reads, `answers/cells` has answers whose fault
is in the cell rather than in the function: the cells they change, each after a line `# %% grade_id`, and in line 2
whether they earn all points or none.
"""

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat

from grading.demo import demo_class as demo
from selftests.answer_bank import ANSWERS, RIGHT, exercise_of
from tests.exercises import EXERCISE_SWEEPS, FUNCTIONS, HOOKS

CELLS = sorted(ANSWERS.glob("cells/*.ipy"))
NOTEBOOK_OF = {name: exercise.notebook for name, exercise in FUNCTIONS.items()}
CHECK_OF = {name: exercise.check_cell for name, exercise in FUNCTIONS.items()}
BONUS = {name for name, exercise in FUNCTIONS.items() if exercise.bonus}

Submission = dict[str, Path]
"""Answers by exercise. In the same notebooks, an exercise without an answer gets the solution; a bonus exercise, whose
solution runs for long, remains a stub."""


def submissions(answers: Iterable[Path]) -> list[Submission]:
    """Combine the answers into submissions, one for each exercise, sorted by the second part of their names."""
    ordered = sorted(answers, key=lambda answer: answer.stem.split("__")[1])
    by_exercise = [[answer for answer in ordered if exercise_of(answer) == name] for name in FUNCTIONS]
    return [{exercise_of(answer): answer for answer in row if answer} for row in itertools.zip_longest(*by_exercise)]


def grade(folder: Path, submitted: list[Submission]) -> list[str]:
    """Have nbgrader grade submissions in a separate course folder; return the unexpected scores."""
    demo.make_course(folder)
    unexpected = []
    for number, submission in enumerate(submitted, start=1):
        student = f"submission{number}"
        hand_in(student, submission, folder)
        try:
            demo.nbgrader(folder, "autograde", "--student", student)
            points = demo.in_all(demo.read_points(folder, student))
            unexpected += unexpected_scores(submission, folder / "autograded" / student / demo.COURSE, points)
        except demo.DemoError as error:
            unexpected.append(f"{', '.join(answer.stem for answer in submission.values())}: {error}")
        progress = f"graded {number} of {len(submitted)}, unexpected so far: {len(unexpected)}"
        print(f"{folder.name}: {progress}", flush=True)
    return unexpected


def differences_from_make_grade(graded: Path) -> list[str]:
    """Grade the submissions in a folder that nbgrader has graded with `python -m grading` too; describe differences."""
    folder = graded.with_name(f"{graded.name}_by_make_grade")
    demo.make_course(folder)
    shutil.copytree(graded / "submitted", folder / "submitted")
    subprocess.run([sys.executable, *demo.grading_arguments(folder)], cwd=demo.REPOSITORY, check=True)
    different = []
    for student in sorted(path.name for path in (graded / "submitted").iterdir()):
        theirs, ours = (demo.in_all(demo.read_points(course, student)) for course in (graded, folder))
        for name in sorted(theirs.keys() | ours.keys()):
            if theirs.get(name) != ours.get(name):
                different.append(f"{student}, {name}: {ours.get(name)} instead of nbgrader's {theirs.get(name)}")
    return different


def hand_in(student: str, submission: Submission, folder: Path) -> None:
    """Save the notebooks for which a submission has answers, where nbgrader finds them."""
    place = folder / "submitted" / student / demo.COURSE
    place.mkdir(parents=True)
    for name in notebooks_of(submission):
        notebook = nbformat.read(folder / "exercises" / demo.COURSE / f"{name}.ipynb", as_version=4)
        cells = solutions_apart(name)
        for answer in submission.values():
            cells |= cells_of(answer)
        for cell in notebook.cells:
            cell.source = cells.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
        nbformat.write(notebook, place / f"{name}.ipynb")


def notebooks_of(submission: Submission) -> set[str]:
    return {NOTEBOOK_OF[name] for name in submission}


def scored_exercises(submission: Submission) -> list[str]:
    """Return every exercise in the notebooks of a submission."""
    return [name for name, notebook in NOTEBOOK_OF.items() if notebook in notebooks_of(submission)]


def solutions_apart(notebook: str) -> dict[str, str]:
    """Return the solutions' cells. Each sweep's includes its hooks, so that a wrong hook above costs points once."""
    cells = demo.right_answers(notebook)
    hooks = [source for name, source in cells.items() if name in HOOKS]
    return {
        name: "\n\n\n".join([*hooks, source]) if name in EXERCISE_SWEEPS else source
        for name, source in cells.items()
        if name not in BONUS
    }


def cells_of(answer: Path) -> dict[str, str]:
    """Return the cells that an answer changes, by grade id."""
    if answer in CELLS:
        return demo.read_cells(answer)
    return {exercise_of(answer): answer.read_text(encoding="utf-8")}


def earns_points(name: str, answer: Path | None) -> bool:
    """Return whether an exercise should get its points; without an answer, it has the solution."""
    if answer is None:
        return name not in BONUS
    if answer in CELLS:
        return answer.read_text(encoding="utf-8").splitlines()[1] == "# points: all"
    return answer in RIGHT


def unexpected_scores(submission: Submission, graded: Path, points: demo.Cells) -> list[str]:
    """Describe each exercise whose points differ from the expected; `graded` has the graded notebooks."""
    unexpected = []
    for name in scored_exercises(submission):
        answer = submission.get(name)
        score, most = points[CHECK_OF[name]]
        expected = most if earns_points(name, answer) else 0
        if score != expected:
            title = answer.stem if answer else f"{name} without an answer"
            beside = ", ".join(other.stem for other in submission.values() if other != answer) or "nothing"
            output = output_of(CHECK_OF[name], graded / f"{NOTEBOOK_OF[name]}.ipynb")
            unexpected.append(f"{title} got {score:g} points instead of {expected:g} (beside {beside}): {output}")
    return unexpected


def output_of(grade_id: str, notebook: Path) -> str:
    """Return the output of a cell in a graded notebook."""
    cells = nbformat.read(notebook, as_version=4).cells
    cell = next(cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id)
    return "\n".join(output.get("text") or "\n".join(output.get("traceback", [])) for output in cell.outputs)
