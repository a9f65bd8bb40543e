"""Bonus points, which nbgrader counts beyond an assignment's maximum: their checks are worth 0 in its gradebook.

The instructor's notebooks state what a bonus check is worth. A release takes that out of the maximum, and grading
awards it, so that Formgrader and `nbgrader export` show 34 of 32 points.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.api import SubmittedAssignment, SubmittedNotebook
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Dict

SUFFIX = "_bonus"
"""The end of a bonus check's grade id."""


@dataclass(frozen=True)
class Points:
    """A submission's points without the late penalty, which is for all of it."""

    required: float
    max_required: float
    bonus: float
    """Those in checks whose maximum is 0."""

    def __str__(self) -> str:
        """Return such as `30 of 32 points, 2 bonus`."""
        bonus = f", {self.bonus:g} bonus" if self.bonus else ""
        return f"{self.required:g} of {self.max_required:g} points{bonus}"


def exercise_name(check: str) -> str:
    """Return the name of the exercise that a check is about, by the check's grade id."""
    return check.removeprefix("check_").removesuffix(SUFFIX)


def points_of(submission: SubmittedAssignment | SubmittedNotebook) -> Points:
    """Return a submission's points, in all its notebooks or in one, by the gradebook."""
    notebooks = submission.notebooks if isinstance(submission, SubmittedAssignment) else [submission]
    bonus = sum(grade.score for notebook in notebooks for grade in notebook.grades if grade.max_score == 0)
    return Points(submission.score - bonus, submission.max_score, bonus)


def bonus_points(folder: Path) -> dict[str, float]:
    """Return the points of each bonus check in a folder of notebooks, by its grade id."""
    cells = [cell for file in sorted(folder.glob("*.ipynb")) for cell in json.loads(file.read_bytes())["cells"]]
    marks = [cell["metadata"].get("nbgrader", {}) for cell in cells]
    return {each["grade_id"]: each["points"] for each in marks if each.get("grade_id", "").endswith(SUFFIX)}


class BonusPoints(NbGraderPreprocessor):
    """A preprocessor that knows what each bonus check is worth."""

    points = Dict(help="The points of each bonus check, by its grade id").tag(config=True)

    def worth(self, name: str) -> float:
        return self.points[name]

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        if (name := cell.metadata.get("nbgrader", {}).get("grade_id")) in self.points:
            cell.metadata.nbgrader["points"] = self.worth(name)
        return cell, resources


class OmitBonus(BonusPoints):
    """Take the bonus checks out of the maximum, in a release."""

    def worth(self, name: str) -> float:
        return 0


class AwardBonus(BonusPoints):
    """Have nbgrader award what a bonus check is worth, which the gradebook no longer knows."""
