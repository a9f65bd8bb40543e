"""What stands above the notebook on a feedback page: the score, and each exercise with its points and message."""

import re
from dataclasses import dataclass

from nbconvert.filters import strip_ansi
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from nbgrader.api import Gradebook
from nbgrader.preprocessors import GetGrades
from nbgrader.utils import is_grade, is_task

from grading.bonus import Points, exercise_name, points_of
from grading.class_report.messages import NOT_ATTEMPTED, describe, text_of
from grading.course import full_name

MAX_LETTERS = 2000
"""The length of a message; the whole of it stands below, in the notebook."""
HIDDEN_MARK = re.compile(r"^.*### (BEGIN|END) HIDDEN TESTS.*\n?", re.M)
LIGHT, DARK = "default", "github-dark"
"""Pygments' styles of code."""


@dataclass(frozen=True)
class Exercise:
    """A line of the first screen: a graded cell."""

    anchor: str
    score: float
    worth: float
    is_bonus: bool
    message: str
    """What it said; empty if it got all points."""

    @property
    def name(self) -> str:
        return exercise_name(self.anchor)

    @property
    def mark(self) -> str:
        """The class of its colour on the page."""
        return "full" if self.score >= self.worth else "part" if self.score else "zero"


@dataclass(frozen=True)
class FirstScreen:
    """What the template shows above the notebook."""

    student: str
    points: Points
    exercises: list[Exercise]
    notebooks: dict[str, Points]
    """The points in all notebooks of the submission."""
    highlighting: str
    """The style sheet of highlighted code."""

    @property
    def max_bonus(self) -> float:
        return sum(exercise.worth for exercise in self.exercises if exercise.is_bonus)


class DescribeScore(GetGrades):
    """nbgrader's preprocessor that reads the grades, which also puts a `FirstScreen` into `resources`."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        nb, resources = super().preprocess(nb, resources)
        about, worth = resources["nbgrader"], self.config.BonusPoints.get("points", {})
        with Gradebook(about["db_url"]) as gradebook:
            submission = gradebook.find_submission(about["assignment"], about["student"])
            student = full_name(submission.student) or about["student"]
            notebooks = {each.name: points_of(each) for each in submission.notebooks}
        resources["first_screen"] = FirstScreen(
            student=student,
            points=notebooks[about["notebook"]],
            exercises=[describe_exercise(cell, worth) for cell in nb.cells if is_grade(cell) or is_task(cell)],
            notebooks=dict(sorted(notebooks.items())),
            highlighting=highlighting(resources["config_dir"]),
        )
        for cell in nb.cells:
            remove_hidden_marks(cell)
        return nb, resources


def describe_exercise(cell: NotebookNode, worth: dict[str, float]) -> Exercise:
    """Describe a graded cell with the score that `GetGrades` has put into it; `worth` is that of the bonus checks."""
    marks = cell.metadata.nbgrader
    name, score, is_bonus = marks.grade_id, marks.score or 0, marks.points == 0
    most = worth.get(name, 0) if is_bonus else marks.points
    return Exercise(name, score, most, is_bonus, message_of(cell) if score < most else "")


def message_of(cell: NotebookNode) -> str:
    """Return what a cell says about its missing points."""
    for output in cell.get("outputs", ()):
        if output.output_type == "error":
            ours = output.ename in ("CheckFailed", NOT_ATTEMPTED)
            text = strip_ansi(output.evalue).strip() if ours else describe(output.ename, output.evalue)
            return text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]}…"
        if output.output_type == "stream" and output.name == "stderr":
            return strip_ansi(text_of(output.text)).strip()[:MAX_LETTERS]
    return ""


def remove_hidden_marks(cell: NotebookNode) -> None:
    """Remove nbgrader's marks of hidden tests from a cell and its tracebacks."""
    cell.source = HIDDEN_MARK.sub("", cell.source)
    for output in cell.get("outputs", ()):
        if output.output_type == "error":
            output.traceback = [HIDDEN_MARK.sub("", frame) for frame in output.traceback]


def highlighting(config_folder: str) -> str:
    """Return the style sheet of highlighted code, in light and dark pages; nbconvert looks into Jupyter's folder."""
    sheets = []
    for style in (LIGHT, DARK):
        _, made = CSSHTMLHeaderPreprocessor(style=style).preprocess(new_notebook(), {"config_dir": config_folder})
        sheets.append("\n".join(made["inlining"]["css"]))
    return f"{sheets[0]}\n@media screen and (prefers-color-scheme: dark) {{\n{sheets[1]}\n}}"
