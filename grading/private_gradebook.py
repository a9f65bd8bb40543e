"""The gradebook that a worker's nbgrader writes to: SQLite, with one assignment and no grades."""

import os
from pathlib import Path

from nbgrader.api import Gradebook, Notebook

from grading.course import Course


def make_template(course: Course, file: Path) -> None:
    """Write a gradebook with the assignment and its cells as in the course's gradebook, and without students.

    The due date is omitted: late penalties are applied when the result is entered.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with course.open_gradebook() as source, Gradebook(url(unfinished), course.course_id) as target:
        target.add_assignment(course.assignment)
        for notebook in source.find_assignment(course.assignment).notebooks:
            _copy_notebook(notebook, target, course.assignment)
        target.engine.dispose()
    os.replace(unfinished, file)


def url(file: Path) -> str:
    """Return the URL by which nbgrader opens a gradebook in a file."""
    return f"sqlite:///{file}"


def _copy_notebook(notebook: Notebook, target: Gradebook, assignment: str) -> None:
    target.add_notebook(notebook.name, assignment, kernelspec=notebook.kernelspec)
    where = {"notebook": notebook.name, "assignment": assignment}
    for cell in notebook.grade_cells:
        target.add_grade_cell(cell.name, **where, max_score=cell.max_score, cell_type=cell.cell_type)
    for cell in notebook.solution_cells:
        target.add_solution_cell(cell.name, **where)
    for cell in notebook.task_cells:
        target.add_task_cell(cell.name, **where, max_score=cell.max_score, cell_type=cell.cell_type)
    for cell in notebook.source_cells:
        content = {"source": cell.source, "checksum": cell.checksum}
        target.add_source_cell(cell.name, **where, cell_type=cell.cell_type, locked=cell.locked, **content)
