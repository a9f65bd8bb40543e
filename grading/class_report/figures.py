"""What the page shows: the class as the gradebook, the kept results and the folders have it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

from nbgrader.api import Gradebook, Student, SubmittedAssignment, SubmittedNotebook
from sqlalchemy.engine import make_url

from grading.class_report.messages import failures
from grading.classroom import latest_result
from grading.course import Course, as_text, fingerprint, flaw_in_name, notebooks_of
from grading.errors import GradingError
from grading.results import Result

GRADED, WAITING, ABSENT = "graded", "not graded yet", "nothing handed in"
BONUS = "_bonus"
"""How the names of the bonus checks end."""
MOST_MESSAGES = 3
"""The messages shown of one check, the most frequent ones."""


@dataclass
class Check:
    """A graded cell, and how the class did there."""

    notebook: str
    name: str
    most: float
    """The points to be had."""
    passed: int = 0
    stopped: int = 0
    """The students who did not get all of its points from nbgrader."""
    not_run: int = 0
    """The students whose notebook is missing or could not be run."""
    messages: Counter[str] = field(default_factory=Counter)
    """The first lines of its failures, and how often each was seen."""

    @property
    def is_bonus(self) -> bool:
        return self.name.endswith(BONUS)

    @property
    def tried(self) -> int:
        return self.passed + self.stopped

    @property
    def frequent_messages(self) -> list[tuple[str, int]]:
        return self.messages.most_common(MOST_MESSAGES)


@dataclass(frozen=True)
class Mark:
    """What a student has in one graded cell."""

    points: float
    ran: bool
    passed: bool | None
    """Whether nbgrader gave all points by itself; None where it leaves the cell to a person."""
    by_hand: bool
    """Whether somebody must still look at it."""


@dataclass
class Row:
    """One student."""

    student: str
    name: str
    """First and last name, as far as the gradebook has them."""
    state: str = ABSENT
    points: float = 0
    """As nbgrader exports them: with what was given by hand, less what was taken for lateness."""
    penalty: float = 0
    marks: dict[tuple[str, str], Mark] = field(default_factory=dict)
    """By notebook and name of the check."""
    feedback: dict[str, str] = field(default_factory=dict)
    """The notebooks that have a feedback page, and links to them."""
    seconds: float | None = None
    """What grading took; None where `make grade` did not do it."""
    remarks: list[str] = field(default_factory=list)
    """Why somebody should look at the submission."""

    def mark(self, check: Check) -> Mark | None:
        """The mark in a check; None where the check is newer than the grading."""
        return self.marks.get((check.notebook, check.name))

    def points_of(self, check: Check) -> float:
        return sum(mark.points for mark in [self.mark(check)] if mark)

    def points_in(self, notebook: str) -> float:
        return sum(mark.points for (place, _), mark in self.marks.items() if place == notebook)

    @property
    def bonus(self) -> float:
        return sum(mark.points for (_, name), mark in self.marks.items() if name.endswith(BONUS))


@dataclass
class ClassFigures:
    """A class: its students, and the checks of the assignment in the notebooks' order."""

    course_id: str
    assignment: str
    rows: list[Row]
    checks: list[Check]

    @property
    def most(self) -> float:
        return sum(check.most for check in self.checks)

    @property
    def most_bonus(self) -> float:
        return sum(check.most for check in self.checks if check.is_bonus)

    @property
    def notebooks(self) -> dict[str, list[Check]]:
        """The checks by notebook; notebooks without checks are left out."""
        names = dict.fromkeys(check.notebook for check in self.checks)
        return {name: [check for check in self.checks if check.notebook == name] for name in names}

    @property
    def graded(self) -> list[Row]:
        return self.rows_that_are(GRADED)

    def mean(self, points: Callable[[Row], float]) -> float:
        """The mean of some points over the graded students, of whom there must be one."""
        return fmean(map(points, self.graded))

    def rows_that_are(self, state: str) -> list[Row]:
        return [row for row in self.rows if row.state == state]

    def hardest_first(self, bonus: bool) -> list[Check]:
        """The bonus checks or the others, those that stopped the most students first."""
        chosen = [check for check in self.checks if check.is_bonus == bonus]
        return sorted(chosen, key=lambda check: -check.stopped)


def read_class(course: Course) -> ClassFigures:
    """Read all that the page shows.

    Raises `GradingError` where there is no gradebook, it does not know the assignment, or there are no students.
    """
    insist_on_gradebook(course)
    notebooks_of(course)
    with course.open_gradebook() as gradebook:
        figures = ClassFigures(course.course_id, course.assignment, [], read_checks(gradebook, course))
        submissions = {each.student.id: each for each in gradebook.assignment_submissions(course.assignment)}
        enrolled = {student.id: student for student in gradebook.students}
        handed_in = set(course.students())
        for student in sorted(enrolled.keys() | handed_in):
            row = Row(as_text(student), full_name(enrolled.get(student)))
            figures.rows.append(row)
            if submission := submissions.get(student):
                fill(row, course, submission, student in handed_in)
                count(row, course, figures.checks)
            elif student in handed_in:
                row.state = WAITING
                flaw = flaw_in_name(student)
                row.remarks = [f"handed in, not graded: {flaw}" if flaw else "handed in, not graded yet"]
            else:
                row.remarks = ["enrolled, nothing handed in"]
    if not figures.rows:
        raise GradingError(
            f"There is nobody to report on: the gradebook has no students, and there is no submission like "
            f"{course.submission('STUDENT')}."
        )
    return figures


def insist_on_gradebook(course: Course) -> None:
    """Stop where there is no gradebook: opening one would make it."""
    url = make_url(course.db_url)
    if url.get_backend_name() == "sqlite" and not os.path.isfile(url.database or ""):
        raise GradingError(
            f"There is no gradebook {url.database}: run `nbgrader generate_assignment {course.assignment} "
            "--create --force`, and grade the class."
        )


def read_checks(gradebook: Gradebook, course: Course) -> list[Check]:
    """The assignment's graded cells, notebook by notebook."""
    notebooks = sorted(gradebook.find_assignment(course.assignment).notebooks, key=lambda notebook: notebook.name)
    return [
        Check(notebook.name, cell.name, cell.max_score)
        for notebook in notebooks
        for cell in [*notebook.grade_cells, *notebook.task_cells]
    ]


def full_name(student: Student | None) -> str:
    names = (student.first_name, student.last_name) if student else ()
    return " ".join(name for name in names if name)


def fill(row: Row, course: Course, submission: SubmittedAssignment, handed_in: bool) -> None:
    """Enter what is known of a graded submission."""
    result = latest_result(course, row.student)
    row.state = GRADED
    row.penalty = submission.late_submission_penalty
    row.points = max(0.0, submission.score - row.penalty)
    row.seconds = result.seconds if result else None
    for notebook in submission.notebooks:
        ran = was_run(course, row.student, notebook.name, result)
        for grade in notebook.grades:
            passed = None if grade.auto_score is None else not grade.failed_tests
            row.marks[notebook.name, grade.name] = Mark(grade.score, ran, passed, bool(grade.needs_manual_grade))
    row.feedback = dict(feedback_links(course, row.student, submission.notebooks))
    row.remarks = list(remarks_on(row, course, result, handed_in))


def was_run(course: Course, student: str, notebook: str, result: Result | None) -> bool:
    """Whether nbgrader ran a notebook; what was missing or broken has points, 0, all the same."""
    if result and notebook in result.notebooks:
        return result.notebooks[notebook].outcome == "graded"
    return graded_notebook(course, student, notebook).is_file()


def graded_notebook(course: Course, student: str, notebook: str) -> Path:
    return course.autograded(student) / f"{notebook}.ipynb"


def feedback_links(course: Course, student: str, notebooks: list[SubmittedNotebook]) -> Iterator[tuple[str, str]]:
    """Each notebook with a feedback page, and a link that leads there from the report's folder."""
    for notebook in notebooks:
        page = course.feedback(student) / f"{notebook.name}.html"
        if page.is_file():
            yield notebook.name, quote(os.fsencode(os.path.relpath(page, course.state)))


def remarks_on(row: Row, course: Course, result: Result | None, handed_in: bool) -> Iterator[str]:
    """Why somebody should look at a graded submission."""
    if result:
        # Nobody loses points by not handing in a notebook without checks.
        harmless = {f"{notebook}: missing" for notebook in result.notebooks.keys() - {place for place, _ in row.marks}}
        yield from (remark for remark in result.remarks() if remark not in harmless)
        if handed_in and is_newer(course, row.student, result):
            yield "handed in again, and not graded again yet"
    by_hand = [f"{notebook}: {name}" for (notebook, name), mark in row.marks.items() if mark.by_hand]
    if by_hand:
        yield f"to be looked at by hand: {', '.join(by_hand)}"


def is_newer(course: Course, student: str, result: Result) -> bool:
    """Whether a submission has been handed in since it was graded; what cannot be read counts as such."""
    try:
        return fingerprint(course.submission(student), course.ignore) != result.fingerprint
    except OSError:
        return True


def count(row: Row, course: Course, checks: list[Check]) -> None:
    """Add a student to what each check did."""
    said: dict[str, dict[str, str]] = {}
    for check in checks:
        mark = row.mark(check)
        if mark is None or not mark.ran:
            check.not_run += 1
        elif mark.passed:
            check.passed += 1
        elif mark.passed is not None:
            check.stopped += 1
            # Graded notebooks are large: each is read once, and only if something failed in it.
            if check.notebook not in said:
                said[check.notebook] = failures(graded_notebook(course, row.student, check.notebook))
            if message := said[check.notebook].get(check.name):
                check.messages[message] += 1
