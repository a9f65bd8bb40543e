"""Enter a result into the course: the scores into its gradebook, the graded notebooks into autograded/.

This happens in one process only, one submission after another, so that no database has to stand several writers.
Entering the same result again changes nothing, so that a run that was killed in the middle can be repeated.
"""

import os
from pathlib import Path

from nbformat.v4 import new_notebook
from nbgrader.api import MissingEntry, SubmittedNotebook
from nbgrader.preprocessors import AssignLatePenalties
from traitlets.config import Config

from grading import results
from grading.course import Course
from grading.folders import remove
from grading.results import Graded, Result

Points = tuple[float, float]


def enter(course: Course, settings: Config, result: Result) -> Points:
    """Enter a result; return the points, and the points to be had."""
    folder = results.folder_of(course, result.student, result.fingerprint)
    _enter_scores(course, result)
    _settle_lateness(course, settings, result)
    _place_notebooks(folder / results.NOTEBOOKS, course.autograded(result.student))
    (folder / results.ENTERED).touch()
    results.forget(course, result.student, except_for=result.fingerprint)
    return points(course, result.student)


def is_entered(course: Course, student: str, fingerprint: str) -> bool:
    """Whether a result was entered and is still there; the gradebook or autograded/ may have been removed since."""
    if not (results.folder_of(course, student, fingerprint) / results.ENTERED).exists():
        return False
    if not course.autograded(student).exists():
        return False
    with course.open_gradebook() as gradebook:
        try:
            gradebook.find_submission(course.assignment, student)
        except MissingEntry:
            return False
    return True


def points(course: Course, student: str) -> Points:
    """What the gradebook says of a student: points, and the points to be had."""
    with course.open_gradebook() as gradebook:
        submission = gradebook.find_submission(course.assignment, student)
        return submission.score, submission.max_score


def _enter_scores(course: Course, result: Result) -> None:
    with course.open_gradebook() as gradebook:
        gradebook.update_or_create_student(result.student)
        timestamp = {"timestamp": result.timestamp} if result.timestamp else {}
        submission = gradebook.update_or_create_submission(course.assignment, result.student, **timestamp)
        for notebook in submission.notebooks:
            _enter_notebook(notebook, result.notebooks.get(notebook.name, Graded("missing")))
        gradebook.db.commit()


def _enter_notebook(notebook: SubmittedNotebook, graded: Graded) -> None:
    """What nbgrader's SaveAutoGrades writes, and 0 where it could not: an earlier submission's score must not stay."""
    was_graded = graded.outcome == "graded"
    for grade in notebook.grades:
        grade.auto_score = graded.scores.get(grade.name) if was_graded else 0
        # As nbgrader does: who gave points by hand should look again.
        looked_at = grade.manual_score is not None
        grade.needs_manual_grade = was_graded and (looked_at or grade.name in graded.by_hand)
    for comment in notebook.comments:
        comment.auto_comment = graded.comments.get(comment.name)


def _settle_lateness(course: Course, settings: Config, result: Result) -> None:
    """Have nbgrader take points for lateness, by the due date and extensions in the course's gradebook."""
    settle = AssignLatePenalties(config=settings)
    for name, graded in result.notebooks.items():
        if graded.outcome == "graded":
            about = {
                "notebook": name,
                "assignment": course.assignment,
                "student": result.student,
                "db_url": course.db_url,
            }
            settle(new_notebook(), {"nbgrader": about})


def _place_notebooks(source: Path, target: Path) -> None:
    """Move the graded notebooks to where `nbgrader autograde` leaves them."""
    if not source.exists():
        return  # moved by a run that was killed just after
    remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(source, target)
