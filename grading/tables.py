"""Tables as CSV, in which no name or remark of a student is a formula to the program that opens it."""

import csv
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TextIO

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.plugins import ExportPlugin

from grading.bonus import points_of

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a formula begins, by OWASP's page on CSV injection."""
COLUMNS = """
assignment duedate timestamp student_id last_name first_name email raw_score late_submission_penalty score max_score
bonus
""".split()
"""Those of nbgrader's own export, and how much of the score counts beyond the maximum."""


class Writer:
    """A CSV writer that puts an apostrophe before texts that begin like a formula, as OWASP advises."""

    def __init__(self, stream: TextIO) -> None:
        self._writer = csv.writer(stream)

    def writerow(self, row: Iterable[Any]) -> None:
        self._writer.writerow([harmless(cell) for cell in row])


def harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


class GradesTable(ExportPlugin):
    """nbgrader's export of grades as CSV, with quoted cells and without formulas."""

    def export(self, gradebook: Gradebook) -> None:
        """Write the grades of the assignments and students asked for, by default all."""
        with open(self.to or "grades.csv", "w", encoding="utf-8", newline="") as stream:
            table = Writer(stream)
            table.writerow(COLUMNS)
            for assignment in chosen(gradebook.assignments, "name", self.assignment):
                for student in chosen(gradebook.students, "id", self.student):
                    table.writerow(grades(gradebook, assignment, student))


def chosen(entries: Iterable[Any], attribute: str, names: Sequence[Any]) -> list[Any]:
    """Return the entries with these names, or all if there are none."""
    return [entry for entry in entries if not names or getattr(entry, attribute) in map(str, names)]


def grades(gradebook: Gradebook, assignment: Any, student: Any) -> list[Any]:
    """Return a row: zeros for a student without a submission."""
    timestamp, score, penalty, bonus = "", 0.0, 0.0, 0.0
    with suppress(MissingEntry):
        submission = gradebook.find_submission(assignment.name, student.id)
        timestamp, score, penalty = submission.timestamp, submission.score, submission.late_submission_penalty
        bonus = points_of(submission).bonus
    names = [student.id, student.last_name, student.first_name, student.email]
    scores = [score, penalty, max(0.0, score - penalty), assignment.max_score, bonus]
    return [assignment.name, assignment.duedate, timestamp, *names, *scores]
