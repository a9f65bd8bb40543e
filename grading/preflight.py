"""Grade a right answer of the course's own before any student's, with the same sandbox and kernels.

What fails then is the machine or the course, and not a student.
"""

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import is_grade, is_solution

from grading import autograde, worker
from grading.class_report.messages import failures
from grading.course import Course
from grading.errors import GradingError
from grading.kernels import sandbox
from grading.preprocessors import setup_names
from grading.results import NOT_GRADED, NotebookResult
from grading.worker import Task


def right_answer(course: Course, names: tuple[str, ...]) -> dict[str, str]:
    """Return a short submission by the instructor: notebooks as JSON, by name.

    It is the first notebook with a check, down to that check, and the setup cells of others whose setup differs.
    Without the instructor's notebooks it is an empty one.
    """
    files = {name: course.source / f"{name}.ipynb" for name in names}
    notebooks = {name: nbformat.read(file, as_version=4) for name, file in files.items() if file.exists()}
    checked = next((name for name, notebook in notebooks.items() if checks_in(notebook)), None)
    answer, known = {}, {""}
    for name in sorted(notebooks, key=lambda name: name != checked):
        notebook = notebooks[name]
        setup = setup_cells(notebook)
        code = "\n".join(cell.source for cell in setup)
        if name == checked or code not in known:
            notebook.cells = notebook.cells[: checks_in(notebook)[0] + 1] if name == checked else setup
            answer[name] = nbformat.writes(notebook)
        known.add(code)
    return answer or {name: nbformat.writes(nbformat.v4.new_notebook()) for name in names[:1]}


def setup_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return a notebook's setup cells."""
    names = setup_names({"cell_type": cell.cell_type} | cell.metadata.get("nbgrader", {}) for cell in notebook.cells)
    return [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") in names]


def checks_in(notebook: NotebookNode) -> list[int]:
    """Return the indices of the cells that are graded automatically."""
    cells = enumerate(notebook.cells)
    return [index for index, cell in cells if cell.cell_type == "code" and is_grade(cell) and not is_solution(cell)]


def run(task: Task, answer: dict[str, str]) -> None:
    """Grade the right answer. Raises `GradingError` if its setup fails or its check does not get all points."""
    require_packages_of(task.course.settings_folder)
    with worker.private_folder(task.course) as folder:
        place = folder / "submitted" / autograde.STUDENT / task.course.assignment
        place.mkdir(parents=True)
        for name, notebook in answer.items():
            (place / f"{name}.ipynb").write_text(notebook, encoding="utf-8")
        worker.make_course(task, folder, place)
        graded = worker.run_nbgrader(task, folder, list(answer))
        for name, text in answer.items():
            if (why := graded[name].outcome) != "graded":
                why = why.removeprefix(NOT_GRADED)
                raise GradingError(f"the instructor's own {name}.ipynb could not be graded: {why}")
            notebook = nbformat.reads(text, as_version=4)
            output = folder / "autograded" / autograde.STUDENT / task.course.assignment / f"{name}.ipynb"
            for check in checks_in(notebook):
                require_points(graded[name], notebook.cells[check].metadata.nbgrader, output)


def require_packages_of(folder: Path) -> None:
    """Raise `GradingError` if a folder has the workbook's packages, but others are imported."""
    if (folder / "grading" / "kernels").is_dir() and not folder.samefile(sandbox.ROOT):
        raise GradingError(
            f"the workbook's packages are imported from {sandbox.ROOT} instead of {folder}; set PYTHONPATH={folder}"
        )


def require_points(result: NotebookResult, check: NotebookNode, graded: Path) -> None:
    """Raise `GradingError` if the right answer did not get all points of a check, given that cell's marks."""
    points = result.scores[check.grade_id] or 0
    if points < check.points:
        why = failures(graded).get(check.grade_id, "there is no error in that cell")
        got = f"got {points:g} of {check.points:g} points in {check.grade_id}"
        raise GradingError(f"the instructor's own answer in {graded.name} {got}: {why}")
