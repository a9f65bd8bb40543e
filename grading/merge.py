"""Enter a result into the course: the scores into its gradebook, the graded notebooks into autograded/.

A single process does this, one submission after another, so that the database needs no concurrent writers. Entering a
result is idempotent, so that a killed run can be repeated.
"""

import os
from pathlib import Path

from nbformat.v4 import new_notebook
from nbgrader.api import MissingEntry, SubmittedNotebook
from nbgrader.preprocessors import AssignLatePenalties
from traitlets.config import Config

from grading import results
from grading.bonus import Points, points_of
from grading.course import Course
from grading.folders import remove
from grading.results import NotebookResult, Result


def enter(course: Course, settings: Config, result: Result) -> Points:
    """Enter a result; return the student's points."""
    folder = results.result_folder(course, result.student, result.fingerprint)
    _enter_scores(course, result)
    _apply_late_penalties(course, settings, result)
    _place_notebooks(folder / results.NOTEBOOKS, course.autograded(result.student))
    (folder / results.ENTERED).touch()
    results.delete(course, result.student, except_for=result.fingerprint)
    return points(course, result.student)


def is_entered(course: Course, student: str, fingerprint: str) -> bool:
    """Return whether a whole result was entered and neither the gradebook nor autograded/ has been removed since."""
    if not (results.result_folder(course, student, fingerprint) / results.ENTERED).exists():
        return False
    result = results.load(course, student, fingerprint)
    if result is None or result.grader_failed or not course.autograded(student).exists():
        return False
    with course.open_gradebook() as gradebook:
        try:
            gradebook.find_submission(course.assignment, student)
        except MissingEntry:
            return False
    return True


def points(course: Course, student: str) -> Points:
    """Read a student's points from the gradebook."""
    with course.open_gradebook() as gradebook:
        return points_of(gradebook.find_submission(course.assignment, student))


def _enter_scores(course: Course, result: Result) -> None:
    with course.open_gradebook() as gradebook:
        gradebook.update_or_create_student(result.student)
        timestamp = {"timestamp": result.timestamp} if result.timestamp else {}
        submission = gradebook.update_or_create_submission(course.assignment, result.student, **timestamp)
        for notebook in submission.notebooks:
            _enter_notebook(notebook, result.notebooks.get(notebook.name, NotebookResult("missing")))
        gradebook.db.commit()


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


def _apply_late_penalties(course: Course, settings: Config, result: Result) -> None:
    """Have nbgrader apply late penalties, by the due date and extensions in the course's gradebook."""
    assign_penalties = AssignLatePenalties(config=settings)
    for name, graded in result.notebooks.items():
        if graded.outcome == "graded":
            about = {
                "notebook": name,
                "assignment": course.assignment,
                "student": result.student,
                "db_url": course.db_url,
            }
            assign_penalties(new_notebook(), {"nbgrader": about})


def _place_notebooks(source: Path, target: Path) -> None:
    """Move the graded notebooks to where `nbgrader autograde` writes them."""
    if not source.exists():
        return  # moved already, by a run that was killed right after
    remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(source, target)
