"""A course of two trivial notebooks and a class of four students, graded in seconds."""

import csv
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

from grading.kernels import sandbox
from selftests import REPOSITORY

COURSE = "tiny"
WHY_NO_SANDBOX = sandbox.why_unavailable()

# Never skipped in CI.
needs_sandbox = pytest.mark.skipif(
    bool(WHY_NO_SANDBOX) and "CI" not in os.environ, reason=f"SANDBOX NOT TESTED: {WHY_NO_SANDBOX}"
)

CELL_SECONDS = 600
"""The time limit of a cell, which no cell reaches that ends, on however busy a machine."""
SETTINGS = f"""
import os, sysconfig
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", os.defpath)
c = get_config()
c.CourseDirectory.course_id = "tiny"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
c.Execute.timeout = {CELL_SECONDS}
c.IPKernelApp.log_level = "ERROR"
"""

FEEDBACK = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from grading.feedback.first_screen import DescribeScore
from grading.feedback.shared_figures import FeedbackExporter, ShareFigures
c.GenerateFeedback.exporter_class = FeedbackExporter
c.GenerateFeedback.preprocessors = [DescribeScore, ShareFigures]
c.FeedbackExporter.template_name = "page"
c.FeedbackExporter.extra_template_basedirs = [{str(REPOSITORY / "grading" / "feedback")!r}]
"""
"""As in nbgrader_config.py."""
RIGHT, WRONG = "answer = 42", "answer = 41"

# Each of the notebooks `one` and `two` has a solution cell and a check worth two points.
CLASS = {
    "ann": {"one": RIGHT, "two": RIGHT},
    "bob": {"one": RIGHT, "two": WRONG},
    "cem": {"two": RIGHT},
    "dee": {"one": "raise ValueError", "two": RIGHT},
}
POINTS = {"ann": 4, "bob": 2, "cem": 2, "dee": 2}


@dataclass(frozen=True)
class GradedClass:
    """The tiny class after `python -m grading`; tests read or copy it, and do not change it."""

    folder: Path
    output: str
    seconds: float


def make_cell(source: str, grade_id: str, **marks) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(source, id=grade_id)
    defaults = {"schema_version": 3, "grade": False, "locked": False, "solution": False, "task": False}
    cell.metadata.nbgrader = defaults | {"grade_id": grade_id} | marks
    return cell


def make_notebook(answer: str, check: str = "assert answer == 42") -> nbformat.NotebookNode:
    """Create a notebook of the course with this code in its solution cell."""
    check_cell = make_cell(check, "check", grade=True, locked=True, points=2)
    notebook = nbformat.v4.new_notebook(cells=[make_cell(answer, "answer", solution=True), check_cell])
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook


def hand_in(course: Path, student: str, answers: dict[str, str]) -> Path:
    """Save notebooks with these answers as a submission; return its folder."""
    place = course / "submitted" / student / COURSE
    place.mkdir(parents=True, exist_ok=True)
    for name, answer in answers.items():
        nbformat.write(make_notebook(answer), place / f"{name}.ipynb")
    return place


def hand_in_class(course: Path) -> None:
    for student, answers in CLASS.items():
        hand_in(course, student, answers)
    place = course / "submitted" / "ann" / COURSE
    (place / "timestamp.txt").write_text("2026-01-02 03:04:05 UTC")
    (place / "data").mkdir()
    (place / "data" / "notes.txt").write_text("beside the notebooks")


def limit_cells(course: Path, seconds: int) -> None:
    """Set the time limit of a cell, for submissions that must reach it."""
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write(f"c.Execute.timeout = {seconds}\n")


def nbgrader(folder: Path, command: str, *options: str) -> None:
    arguments = [sys.executable, "-m", "nbgrader", command, COURSE, *options]
    subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=True)


def start(course: Path, *options: str) -> subprocess.Popen:
    """Start grading the class with one worker unless the options say otherwise, in a sandbox where available."""
    if WHY_NO_SANDBOX:
        options = ("--without-sandbox", *options)
    if "--workers" not in options:
        options = ("--workers", "1", *options)
    arguments = [sys.executable, "-m", "grading", *options]
    return subprocess.Popen(arguments, cwd=course, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def grade(course: Path, *options: str, code: int = 0) -> str:
    """Grade the class; return the output."""
    process = start(course, *options)
    printed, _ = process.communicate(timeout=1800)
    assert process.returncode == code, printed
    return printed


def gradebook(course: Path) -> Gradebook:
    return Gradebook(f"sqlite:///{course / 'gradebook.db'}", COURSE)


def points(course: Path) -> dict[str, float]:
    """Read every student's points."""
    with gradebook(course) as book:
        return {submission.student.id: submission.score for submission in book.assignment_submissions(COURSE)}


def entries(course: Path) -> dict[tuple[str, str, str], tuple]:
    """Read all grades in the course's gradebook, by student, notebook and cell."""
    with gradebook(course) as book:
        return entries_in(book)


def entries_in(book: Gradebook) -> dict[tuple[str, str, str], tuple]:
    """Read all grades in a gradebook, by student, notebook and cell."""
    return {
        (submission.student.id, notebook.name, grade.name): (
            grade.auto_score,
            grade.manual_score,
            grade.max_score,
            grade.needs_manual_grade,
            [(comment.name, comment.auto_comment) for comment in notebook.comments],
            notebook.late_submission_penalty,
            submission.timestamp,
        )
        for submission in book.assignment_submissions(COURSE)
        for notebook in submission.notebooks
        for grade in notebook.grades
    }


def tree(folder: Path) -> dict[str, int]:
    """List the files under a folder and their permissions."""
    return {str(path.relative_to(folder)): path.stat().st_mode for path in folder.rglob("*")}


def remarks(course: Path) -> dict[str, str]:
    """Read the remarks in report.csv, by student, without the apostrophe before what could be a formula."""
    with open(course / ".grading" / COURSE / "report.csv", encoding="utf-8", newline="") as stream:
        return {re.sub(r"^'(?=[=+@\t-])", "", row["student"]): row["remarks"] for row in csv.DictReader(stream)}


def result_times(course: Path) -> dict[str, int]:
    """Return when each student's result was written, which tells whether a submission was graded again."""
    results = (course / ".grading" / COURSE / "results").glob("*/*/result.json")
    return {path.parents[1].name: path.stat().st_mtime_ns for path in results}


def wait_for(condition, seconds: float = 600):
    """Poll `condition` until it returns a true value; return that."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)
    return value
