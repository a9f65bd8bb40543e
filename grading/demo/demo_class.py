"""Grading in two minutes: `make demo` grades a fictional class of four and prints the gradebook.

Everything happens in a separate course folder, demo_class/, which is recreated each time. The class is graded as by
`make grade`; the other steps are nbgrader's own commands, with the settings of nbgrader_config.py, and the report. The
exit code is 1 if any student's points differ from the expected.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook
from nbgrader.utils import is_solution

from grading.bonus import SUFFIX
from grading.class_report import __main__ as class_report
from grading.kernels import sandbox
from grading.written_answers import is_optional
from tests.exercises import EXERCISES, NOTEBOOKS

REPOSITORY = Path(__file__).parents[2]
COURSE = "activation_patching"
ANSWERS = Path(__file__).parent
MADE_BY_DEMO = ".made_by_make_demo"

CHECKS = {exercise.check_cell: exercise for exercise in EXERCISES}
HALF = {"ioi_metric", "patch_residual_component", "get_act_patch_resid_pre"}
MISTAKES = {
    "check_ioi_metric",
    "check_patch_residual_component",
    "check_get_act_patch_block_every_bonus",
    "check_get_act_patch_attn_head_out_all_pos",
    "check_get_act_patch_attn_head_all_pos_every_bonus",
    "check_my_circuit_name_mover",
    "check_my_circuit_previous_token_bonus",
}
"""The checks that refuse a cell of typical_mistakes.py."""
SESSION = tuple(dict.fromkeys(exercise.notebook for exercise in EXERCISES if not exercise.bonus))
"""The notebooks with required points."""
HANDED_IN = {
    "all_right": NOTEBOOKS,
    "half_done": SESSION[:3],
    "typical_mistakes": (*SESSION, "08_mystery_model"),  # with another student's seed, which the report names
    "untouched": SESSION,
}
"""The notebooks that each student hands in."""
PASSED = {
    "all_right": set(CHECKS),
    "half_done": {check for check, exercise in CHECKS.items() if exercise.name in HALF},
    "typical_mistakes": {
        check for check, exercise in CHECKS.items() if exercise.notebook in HANDED_IN["typical_mistakes"]
    }
    - MISTAKES,
    "untouched": set(),
}
"""The check cells that each student must get the points of."""
CLASS = tuple(HANDED_IN)


# Points and maximum points, by the cell's grade id.
Cells = dict[str, tuple[float, float]]


class DemoError(Exception):
    """The demo cannot continue; the message says why."""


def main(folder: Path = REPOSITORY / "demo_class") -> int:
    """Build the class in `folder`, grade it, print the gradebook; return the exit code."""
    try:
        make_course(folder)
        for student in CLASS:
            hand_in(student, folder)
        grade(folder)
        print("Writing feedback ...", flush=True)
        nbgrader(folder, "generate_feedback")
    except DemoError as error:
        print(f"The demo stopped: {error}", file=sys.stderr)
        return 1
    points = {student: read_points(folder, student) for student in CLASS}
    print_table(points)
    print(f"\nThe students' feedback pages, for a browser, are in {folder / 'feedback'}.")
    print(f"Start with {folder / 'feedback' / 'typical_mistakes' / COURSE / '02_residual_stream.html'}")
    class_report.main([f"--course-dir={folder}"])
    return report_unexpected(points)


def make_course(folder: Path) -> None:
    """Create an empty course with the instructor's notebooks and the exercises that nbgrader generates from them."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MADE_BY_DEMO).exists():
            raise DemoError(f"{folder} was not created by the demo: move it away.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MADE_BY_DEMO).touch()
    (folder / "solutions" / COURSE).mkdir(parents=True)
    for notebook in NOTEBOOKS:
        shutil.copy(source(notebook), folder / "solutions" / COURSE)
    print("Generating the exercises from the solutions ...", flush=True)
    nbgrader(folder, "generate_assignment", "--create")


def source(notebook: str) -> Path:
    """Return the path of the instructor's version of a notebook."""
    return REPOSITORY / "solutions" / COURSE / f"{notebook}.ipynb"


def hand_in(student: str, folder: Path) -> None:
    """Fill a student's answers into the exercises and save them as a submission."""
    submission = folder / "submitted" / student / COURSE
    submission.mkdir(parents=True)
    for name in HANDED_IN[student]:
        notebook = nbformat.read(folder / "exercises" / COURSE / f"{name}.ipynb", as_version=4)
        answers = answers_of(student, name)
        for cell in filter(is_solution, notebook.cells):
            cell.source = answers.get(cell.metadata.nbgrader.grade_id, cell.source)
        nbformat.write(notebook, submission / f"{name}.ipynb")


def answers_of(student: str, notebook: str) -> dict[str, str]:
    """Return a student's cells for a notebook, by grade id; other cells remain as in the exercises."""
    right = right_answers(notebook)
    return {
        "all_right": right,
        "half_done": {grade_id: text for grade_id, text in right.items() if grade_id in HALF},
        "typical_mistakes": right | read_cells(ANSWERS / "typical_mistakes.py"),
        "untouched": {},
    }[student]


def right_answers(notebook: str) -> dict[str, str]:
    """Return the solutions' cells, without nbgrader's BEGIN and END lines."""
    cells = nbformat.read(source(notebook), as_version=4).cells
    return {
        cell.metadata.nbgrader.grade_id: re.sub(r"(?m)^ *### (BEGIN|END) SOLUTION\n?", "", cell.source)
        for cell in filter(is_solution, cells)
        if not is_optional(cell)
    }


def read_cells(file: Path) -> dict[str, str]:
    """Read the cells of a Python file in which each begins with a line `# %% grade_id`."""
    _, *parts = re.split(r"(?m)^# %% (\w+)$", file.read_text(encoding="utf-8"))
    return {grade_id: text.strip() for grade_id, text in zip(parts[::2], parts[1::2], strict=True)}


def nbgrader(folder: Path, command: str, *options: str) -> str:
    """Run an nbgrader command on the course in `folder`, with this repository's settings; return its log."""
    # nbgrader reads the nbgrader_config.py in its current folder.
    arguments = [sys.executable, "-m", "nbgrader", command, COURSE, "--course-dir", str(folder), *options]
    result = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True)
    if result.returncode:
        raise DemoError(f"nbgrader {command} failed with this log:\n{result.stderr}")
    return result.stderr


def grade(folder: Path) -> None:
    """Grade the class in `folder` as `make grade` does."""
    # In the repository, which has the course's settings.
    if subprocess.run([sys.executable, *grading_arguments(folder)], cwd=REPOSITORY).returncode:
        raise DemoError("the class could not be graded.")


def grading_arguments(folder: Path) -> list[str]:
    """Return Python's arguments to grade the class in `folder` as `make grade` does, in a sandbox where available."""
    return ["-m", "grading", f"--course-dir={folder}", *(["--without-sandbox"] if sandbox.why_unavailable() else [])]


def read_points(folder: Path, student: str) -> dict[str, Cells]:
    """Read the gradebook's entries for a student, by notebook."""
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", COURSE) as gradebook:
        notebooks = gradebook.find_submission(COURSE, student).notebooks
        return {
            notebook.name: {
                # The maximum of a bonus check is 0 in the gradebook.
                grade.name: (grade.score, grade.max_score or CHECKS[grade.name].points)
                for grade in notebook.grades
            }
            for notebook in notebooks
        }


def in_all(notebooks: dict[str, Cells]) -> Cells:
    """Merge the cells of all notebooks."""
    return {name: pair for cells in notebooks.values() for name, pair in cells.items()}


def sums(cells: Cells, bonus: bool) -> tuple[float, float]:
    """Sum the points and maximum points of the bonus cells or the others."""
    chosen = [pair for name, pair in cells.items() if name.endswith(SUFFIX) == bonus]
    return sum(points for points, _ in chosen), sum(max_points for _, max_points in chosen)


def print_table(points: dict[str, dict[str, Cells]]) -> None:
    """Print points by student and notebook; those after a plus sign are bonus points."""
    rows = [["student", *NOTEBOOKS, "total"]]
    for student, notebooks in points.items():
        rows.append([student, *(describe(notebooks[name]) for name in NOTEBOOKS), describe(in_all(notebooks))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def describe(cells: Cells) -> str:
    """Format points and bonus points, such as `6 of 6 + 3 of 3`, omitting a kind without cells."""
    (points, max_points), (bonus, max_bonus) = sums(cells, bonus=False), sums(cells, bonus=True)
    normal = f"{points:g} of {max_points:g}" if max_points else ""
    return f"{normal} + {bonus:g} of {max_bonus:g}".strip() if max_bonus else normal


def report_unexpected(points: dict[str, dict[str, Cells]]) -> int:
    """Print every student whose points differ from the expected; return the exit code."""
    code = 0
    for student, notebooks in points.items():
        cells = in_all(notebooks)
        found = sums(cells, bonus=False)[0], sums(cells, bonus=True)[0]
        passed = [CHECKS[check] for check in PASSED[student]]
        bonus = sum(exercise.points for exercise in passed if exercise.bonus)
        expected = sum(exercise.points for exercise in passed) - bonus, bonus
        if found != expected:
            instead = f"instead of {expected[0]} + {expected[1]}"
            print(f"{student} got {found[0]:g} + {found[1]:g} points {instead}.", file=sys.stderr)
            code = 1
    return code
