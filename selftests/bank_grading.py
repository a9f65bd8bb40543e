"""The bank of answers as submissions, graded by nbgrader.

A submission holds at most one answer for each exercise, right ones beside wrong ones, so that it shows whether a wrong
answer costs its own points and no others. Besides the files that answer_bank.py reads, `answers/cells` has answers
whose trouble is in the cell rather than in the function: the cells they change, each after a line `# %% grade_id`, and
in line 2 whether they earn all points or none.
"""

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbgrader.utils import is_grade

from grading.demo import demo_class as demo
from selftests.answer_bank import ANSWERS, RIGHT, exercise_of
from tests.exercises import EXERCISE_SWEEPS, FUNCTIONS

CELLS = sorted(ANSWERS.glob("cells/*.ipy"))
NOTEBOOK_OF = {name: notebook for notebook in demo.GRADED for name in demo.right_answers(notebook) if name in FUNCTIONS}
GRADE_IDS = [
    cell.metadata.nbgrader.grade_id
    for notebook in demo.GRADED
    for cell in filter(is_grade, nbformat.read(demo.source(notebook), as_version=4).cells)
]
CHECK_OF = {
    name: grade_id
    for name in FUNCTIONS
    for grade_id in GRADE_IDS
    if grade_id in (f"check_{name}", f"check_{name}_bonus")
}
BONUS = {name for name, check in CHECK_OF.items() if check.endswith("_bonus")}

Submission = dict[str, Path]
"""Answers by the exercise they answer. In the same notebooks, an exercise without one gets the solution; a bonus
exercise, whose solution takes long to run, stays as it was handed out."""


def submissions(answers: Iterable[Path]) -> list[Submission]:
    """Put the answers side by side, one for each exercise, in the order of what is said of them."""
    ordered = sorted(answers, key=lambda answer: answer.stem.split("__")[1])
    by_exercise = [[answer for answer in ordered if exercise_of(answer) == name] for name in FUNCTIONS]
    return [{exercise_of(answer): answer for answer in row if answer} for row in itertools.zip_longest(*by_exercise)]


def grade(folder: Path, handed_in: list[Submission]) -> list[str]:
    """Have nbgrader grade submissions in a course folder of their own; return the scores that are not as expected."""
    demo.make_course(folder)
    unexpected = []
    for number, submission in enumerate(handed_in, start=1):
        student = f"submission{number}"
        hand_in(student, submission, folder)
        try:
            demo.nbgrader(folder, "autograde", "--student", student)
            points = demo.in_all(demo.read_points(folder, student))
            unexpected += unexpected_scores(submission, folder / "autograded" / student / demo.COURSE, points)
        except demo.DemoError as error:
            unexpected.append(f"{', '.join(answer.stem for answer in submission.values())}: {error}")
        progress = f"graded {number} of {len(handed_in)}, unexpected so far: {len(unexpected)}"
        print(f"{folder.name}: {progress}", flush=True)
    return unexpected


def differences_from_make_grade(graded: Path) -> list[str]:
    """Have `python -m grading` grade what nbgrader graded in this course folder; describe the scores that differ."""
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
    """Write the notebooks that a submission has answers for to where nbgrader looks for them."""
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
    """Every exercise in the notebooks that a submission has."""
    return [name for name, notebook in NOTEBOOK_OF.items() if notebook in notebooks_of(submission)]


def solutions_apart(notebook: str) -> dict[str, str]:
    """The solutions' cells. Each sweep brings the hooks it uses: a wrong one in the cell above must not cost twice."""
    cells = demo.right_answers(notebook)
    hooks = [source for name, source in cells.items() if name not in EXERCISE_SWEEPS]
    return {
        name: "\n\n\n".join([*hooks, source]) if name in EXERCISE_SWEEPS else source
        for name, source in cells.items()
        if name not in BONUS
    }


def cells_of(answer: Path) -> dict[str, str]:
    """The cells that an answer changes, by grade id."""
    if answer in CELLS:
        return demo.read_cells(answer)
    return {exercise_of(answer): answer.read_text(encoding="utf-8")}


def earns_points(name: str, answer: Path | None) -> bool:
    """Whether an exercise should get its points; where there is no answer, the solution should."""
    if answer is None:
        return name not in BONUS
    if answer in CELLS:
        return answer.read_text(encoding="utf-8").splitlines()[1] == "# points: all"
    return answer in RIGHT


def unexpected_scores(submission: Submission, graded: Path, points: demo.Cells) -> list[str]:
    """Describe each exercise that got other points than its answer deserves; `graded` holds the graded notebooks."""
    unexpected = []
    for name in scored_exercises(submission):
        answer = submission.get(name)
        score, most = points[CHECK_OF[name]]
        expected = most if earns_points(name, answer) else 0
        if score != expected:
            title = answer.stem if answer else f"{name} without an answer"
            beside = ", ".join(other.stem for other in submission.values() if other != answer) or "nothing"
            said = output_of(CHECK_OF[name], graded / f"{NOTEBOOK_OF[name]}.ipynb")
            unexpected.append(f"{title} got {score:g} points, expected were {expected:g} (beside {beside}): {said}")
    return unexpected


def output_of(grade_id: str, notebook: Path) -> str:
    """What a cell of a graded notebook wrote."""
    cells = nbformat.read(notebook, as_version=4).cells
    cell = next(cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id)
    return "\n".join(output.get("text") or "\n".join(output.get("traceback", [])) for output in cell.outputs)
