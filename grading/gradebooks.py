"""Gradebooks: the course's, which only the command opens, and those that workers' nbgrader writes to.

A result is entered into the course's by a single process, one submission after another, so that the database needs no
concurrent writers. Entering a result is idempotent, so that a killed run can be repeated.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from nbformat.v4 import new_notebook
from nbgrader.api import Gradebook, MissingEntry, Notebook, SubmittedNotebook
from nbgrader.apps import NbGrader
from nbgrader.preprocessors import AssignLatePenalties
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from traitlets.config import Config

from grading import results
from grading.bonus import Points, points_of
from grading.course import Course
from grading.errors import GradingError
from grading.folders import remove
from grading.results import NotebookResult, Result


@dataclass(frozen=True)
class CourseGradebook:
    """Where the course's gradebook is; its URL may contain a password."""

    url: str
    course_id: str

    @classmethod
    def of(cls, app: NbGrader) -> "CourseGradebook":
        """Return the gradebook in an application's settings."""
        return cls(app.coursedir.db_url, app.coursedir.course_id)

    @property
    def name(self) -> str:
        """Its URL without the password, for messages."""
        return make_url(self.url).render_as_string(hide_password=True)

    def open(self) -> Gradebook:
        """Open it. Raises `GradingError` if its database or the database driver is unavailable."""
        try:
            return Gradebook(self.url, self.course_id)
        except (SQLAlchemyError, ImportError) as error:
            why = str(getattr(error, "orig", error)).strip().replace("\n", " ")
            raise GradingError(f"The gradebook {self.name} cannot be opened: {why}") from error

    def require(self, assignment: str) -> None:
        """Raise `GradingError` if there is none: opening it would create one."""
        url = make_url(self.url)
        if url.get_backend_name() == "sqlite" and not os.path.isfile(url.database or ""):
            raise GradingError(
                f"There is no gradebook {url.database}: run `nbgrader generate_assignment {assignment} --create "
                "--force`, and grade the class."
            )

    def notebooks(self, assignment: str) -> list[str]:
        """Return the names of an assignment's notebooks. Raises `GradingError` if it does not have the assignment."""
        with self.open() as gradebook:
            try:
                return sorted(notebook.name for notebook in gradebook.find_assignment(assignment).notebooks)
            except MissingEntry:
                raise GradingError(
                    f"The gradebook has no assignment {assignment!r}: run `nbgrader generate_assignment {assignment} "
                    "--create --force` first."
                ) from None


def enter(gradebook: CourseGradebook, course: Course, settings: Config, result: Result) -> Points:
    """Enter a result: the scores, and the graded notebooks into autograded/; return the student's points."""
    folder = results.result_folder(course, result.student, result.fingerprint)
    _enter_scores(gradebook, course, result)
    _apply_late_penalties(gradebook, course, settings, result)
    _place_notebooks(folder / results.NOTEBOOKS, course.autograded(result.student))
    (folder / results.ENTERED).touch()
    results.delete(course, result.student, except_for=result.fingerprint)
    return points(gradebook, course, result.student)


def is_entered(gradebook: CourseGradebook, course: Course, student: str, fingerprint: str) -> bool:
    """Return whether a whole result was entered and neither the gradebook nor autograded/ has been removed since."""
    if not (results.result_folder(course, student, fingerprint) / results.ENTERED).exists():
        return False
    result = results.load(course, student, fingerprint)
    if result is None or result.grader_failed or not course.autograded(student).exists():
        return False
    with gradebook.open() as book:
        try:
            book.find_submission(course.assignment, student)
        except MissingEntry:
            return False
    return True


def points(gradebook: CourseGradebook, course: Course, student: str) -> Points:
    """Read a student's points from the gradebook."""
    with gradebook.open() as book:
        return points_of(book.find_submission(course.assignment, student))


def _enter_scores(gradebook: CourseGradebook, course: Course, result: Result) -> None:
    with gradebook.open() as book:
        book.update_or_create_student(result.student)
        timestamp = {"timestamp": result.timestamp} if result.timestamp else {}
        submission = book.update_or_create_submission(course.assignment, result.student, **timestamp)
        for notebook in submission.notebooks:
            _enter_notebook(notebook, result.notebooks.get(notebook.name, NotebookResult("missing")))
        book.db.commit()


def _enter_notebook(notebook: SubmittedNotebook, graded: NotebookResult) -> None:
    """Write what nbgrader's SaveAutoGrades does, or 0 for an invalid notebook, to replace any earlier score."""
    if graded.grader_failed:
        return
    was_graded = graded.outcome == "graded"
    for grade in notebook.grades:
        grade.auto_score = graded.scores.get(grade.name) if was_graded else 0
        # As nbgrader does: a cell graded manually before is to be reviewed.
        reviewed = grade.manual_score is not None
        grade.needs_manual_grade = was_graded and (reviewed or grade.name in graded.needs_manual_grade)
    for comment in notebook.comments:
        comment.auto_comment = graded.comments.get(comment.name)


def _apply_late_penalties(gradebook: CourseGradebook, course: Course, settings: Config, result: Result) -> None:
    """Have nbgrader apply late penalties, by the due date and extensions in the course's gradebook."""
    assign_penalties = AssignLatePenalties(config=settings)
    for name, graded in result.notebooks.items():
        if graded.outcome == "graded":
            about = {
                "notebook": name,
                "assignment": course.assignment,
                "student": result.student,
                "db_url": gradebook.url,
            }
            assign_penalties(new_notebook(), {"nbgrader": about})


def _place_notebooks(source: Path, target: Path) -> None:
    """Move the graded notebooks to where `nbgrader autograde` writes them."""
    if not source.exists():
        return  # moved already, by a run that was killed right after
    remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(source, target)


def make_template(gradebook: CourseGradebook, assignment: str, file: Path) -> None:
    """Write a gradebook with the assignment and its cells as in the course's gradebook, and without students.

    The due date is omitted: late penalties are applied when the result is entered.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with gradebook.open() as source, Gradebook(url(unfinished), gradebook.course_id) as target:
        target.add_assignment(assignment)
        for notebook in source.find_assignment(assignment).notebooks:
            _copy_notebook(notebook, target, assignment)
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
