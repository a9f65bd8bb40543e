"""What the page shows: the class according to the gradebook, the saved results and the folders."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from nbgrader.api import Gradebook, SubmittedAssignment, SubmittedNotebook

from grading.bonus import exercise_name, points_of
from grading.class_report.messages import Failure, GradedNotebook, read_graded
from grading.course import Course, escape_undecodable, full_name, why_invalid_name
from grading.errors import GradingError
from grading.gradebooks import CourseGradebook
from grading.results import Result, latest
from grading.submissions import fingerprint

GRADED, PENDING, ABSENT = "graded", "not graded yet", "no submission"
NO_MESSAGE = Failure("no message: its cell was not reached, or printed nothing")
FEW = 3
"""With fewer students than these, nothing is odd about a check that all of them failed."""
SEED = "my_seed"
"""The variable in which each student chooses a mystery model (notebook 8)."""
SEED_VALUE = re.compile(rf"""\b{SEED}(?: ?: ?[\w |]+)? ?= ?("[^"]*"|'[^']*'|\d+)""")


@dataclass
class Check:
    """A graded cell, and how the class did on it."""

    notebook: str
    name: str
    max_points: float
    """What it is worth, of a bonus check too."""
    is_bonus: bool
    passed: int = 0
    failed: int = 0
    """The number of students who got less than its full points from nbgrader."""
    not_run: int = 0
    """The number of students whose notebook is missing or could not be run."""
    failures: list[tuple["Row", Failure]] = field(default_factory=list)
    """Who failed it, and why."""

    @property
    def short_name(self) -> str:
        return exercise_name(self.name).replace("get_act_patch_", "")

    @property
    def attempts(self) -> int:
        return self.passed + self.failed


@dataclass(frozen=True)
class Cause:
    """Why students failed a check: one hint, or else one first line of its message."""

    check: Check
    text: str
    line: str
    """The most frequent first line, if the text is a hint."""
    rows: list["Row"]


@dataclass(frozen=True)
class Mark:
    """A student's grade in one cell."""

    points: float
    ran: bool
    passed: bool | None
    """Whether the automatic score is the full score; None for a cell that is graded manually."""
    needs_manual_grade: bool
    is_bonus: bool


@dataclass
class Row:
    """One student."""

    student: str
    name: str
    """First and last name, as far as they are in the gradebook."""
    state: str = ABSENT
    points: float = 0
    """In the required checks, including manual scores."""
    bonus: float = 0
    penalty: float = 0
    total: float = 0
    """As nbgrader exports it: with the bonus, less the late penalty."""
    marks: dict[tuple[str, str], Mark] = field(default_factory=dict)
    """By notebook and name of the check."""
    feedback: dict[str, str] = field(default_factory=dict)
    """Links to the feedback pages that exist, by notebook."""
    seconds: float | None = None
    """How long grading took; None if `make grade` did not do it."""
    remarks: list[str] = field(default_factory=list)
    """Why the submission needs the instructor's attention."""
    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    """Those that differ from what was handed out, by notebook and name."""

    @property
    def label(self) -> str:
        """The student's id, with the name if there is one."""
        return f"{self.name} ({self.student})" if self.name else self.student

    @property
    def seed(self) -> str:
        """The seed that the student's answers set last, as `utils.mystery` reads it; empty if they set none as text."""
        value = next(reversed(SEED_VALUE.findall(" ".join(self.answers.values()))), "").strip("\"'")
        return " ".join(unicodedata.normalize("NFKC", value).casefold().split())

    def mark(self, check: Check) -> Mark | None:
        """Return the mark in a check; None if the check is newer than the grading."""
        return self.marks.get((check.notebook, check.name))

    def points_of(self, check: Check) -> float:
        return sum(mark.points for mark in [self.mark(check)] if mark)

    def points_in(self, notebook: str) -> float:
        """Return the points in the required checks of a notebook."""
        return sum(mark.points for (place, _), mark in self.marks.items() if place == notebook and not mark.is_bonus)


@dataclass
class ClassData:
    """A class: its students, and the checks of the assignment in the notebooks' order."""

    course_id: str
    assignment: str
    rows: list[Row]
    checks: list[Check]

    @property
    def max_points(self) -> float:
        return sum(check.max_points for check in self.checks if not check.is_bonus)

    @property
    def max_bonus(self) -> float:
        return sum(check.max_points for check in self.checks if check.is_bonus)

    @property
    def notebooks(self) -> dict[str, list[Check]]:
        """The checks by notebook, without notebooks that have none."""
        names = dict.fromkeys(check.notebook for check in self.checks)
        return {name: [check for check in self.checks if check.notebook == name] for name in names}

    @property
    def graded(self) -> list[Row]:
        return self.rows_in_state(GRADED)

    def rows_in_state(self, state: str) -> list[Row]:
        return [row for row in self.rows if row.state == state]

    def causes(self, bonus: bool) -> list[Cause]:
        """Return why students failed the bonus checks or the others, the most frequent cause first."""
        found = [cause for check in self.checks if check.is_bonus == bonus for cause in causes_of(check)]
        return sorted(found, key=lambda cause: -len(cause.rows))

    def not_attempted(self, bonus: bool) -> list[tuple[list[Check], list[Row]]]:
        """Return the checks whose exercises the same students left as handed out, and these students."""
        groups: dict[tuple[str, ...], tuple[list[Check], list[Row]]] = {}
        for check in self.checks:
            rows = [row for row, failure in check.failures if not failure.attempted]
            if rows and check.is_bonus == bonus:
                groups.setdefault(tuple(row.student for row in rows), ([], rows))[0].append(check)
        return sorted(groups.values(), key=lambda group: -len(group[1]))

    @property
    def failed_by_all(self) -> list[Check]:
        """The checks that no student passed, where that is odd; a bonus that all have left is not."""
        failed_by_all = [check for check in self.checks if check.failed >= FEW and not check.passed]
        return [
            check
            for check in failed_by_all
            if not check.is_bonus or any(failure.attempted for _, failure in check.failures)
        ]

    def hardest_first(self, bonus: bool) -> list[Check]:
        """Return the bonus checks or the others, those that most students failed first."""
        chosen = [check for check in self.checks if check.is_bonus == bonus]
        return sorted(chosen, key=lambda check: -check.failed)


def causes_of(check: Check) -> Iterator[Cause]:
    """Yield the causes of a check's failures by students who attempted the exercise."""
    groups: dict[str, list[tuple[Row, Failure]]] = {}
    for row, failure in check.failures:
        if failure.attempted:
            groups.setdefault(failure.cause, []).append((row, failure))
    for text, group in groups.items():
        ((line, _),) = Counter(failure.line for _, failure in group).most_common(1)
        yield Cause(check, text, line if line != text else "", [row for row, _ in group])


def read_class(course: Course, gradebook: CourseGradebook) -> ClassData:
    """Read everything that the page shows.

    Raises `GradingError` if there is no gradebook, it does not have the assignment, or there are no students.
    """
    gradebook.require(course.assignment)
    gradebook.notebooks(course.assignment)
    with gradebook.open() as book:
        data = ClassData(gradebook.course_id, course.assignment, [], read_checks(book, course))
        handed_out = read_handed_out(book, course)
        submissions = {each.student.id: each for each in book.assignment_submissions(course.assignment)}
        enrolled = {student.id: student for student in book.students}
        submitted = set(course.students())
        for student in sorted(enrolled.keys() | submitted):
            row = Row(escape_undecodable(student), full_name(enrolled.get(student)))
            data.rows.append(row)
            if submission := submissions.get(student):
                fill_row(row, course, submission, student in submitted)
                graded = {name: read_graded(graded_notebook(course, student, name)) for name in handed_out}
                count_checks(row, graded, data.checks)
                row.answers = changed_answers(graded, handed_out)
            elif student in submitted:
                row.state = PENDING
                reason = why_invalid_name(student)
                row.remarks = [f"submitted, not graded: {reason}" if reason else "submitted, not graded yet"]
            else:
                row.remarks = ["enrolled, no submission"]
    if not data.rows:
        raise GradingError(
            "There are no students to report on: none in the gradebook, and no submission folders such as "
            f"{course.submission('STUDENT')}."
        )
    for row in data.graded:
        row.remarks += outliers(row, data.graded)
    return data


def outliers(row: Row, rows: list[Row]) -> Iterator[str]:
    """Yield what is odd about a graded submission beside the others."""
    if not row.points + row.bonus and any(mark.ran for mark in row.marks.values()):
        yield "no points at all" + ("" if row.answers else ", and no answer in code: all are as handed out")
    if same := [each.label for each in rows if each is not row and row.answers and each.answers == row.answers]:
        yield f"all answers are word for word those of {', '.join(same)}"
    if same := [each.label for each in rows if each is not row and row.seed and each.seed == row.seed]:
        yield f"{SEED} is also that of {', '.join(same)}"


def read_checks(gradebook: Gradebook, course: Course) -> list[Check]:
    """Read the assignment's graded cells, notebook by notebook."""
    notebooks = sorted(gradebook.find_assignment(course.assignment).notebooks, key=lambda notebook: notebook.name)
    return [
        Check(notebook.name, cell.name, cell.max_score or course.bonus.get(cell.name, 0), is_bonus=cell.max_score == 0)
        for notebook in notebooks
        for cell in [*notebook.grade_cells, *notebook.task_cells]
    ]


def read_handed_out(gradebook: Gradebook, course: Course) -> dict[str, dict[str, str]]:
    """Read the text of the assignment's cells as students get them, by notebook and name."""
    notebooks = gradebook.find_assignment(course.assignment).notebooks
    return {notebook.name: {cell.name: cell.source for cell in notebook.source_cells} for notebook in notebooks}


def changed_answers(
    graded: dict[str, GradedNotebook], handed_out: dict[str, dict[str, str]]
) -> dict[tuple[str, str], str]:
    """Return the answers that differ from what was handed out, but for white space."""
    return {
        (notebook, name): answer
        for notebook, each in graded.items()
        for name, source in each.answers.items()
        if (answer := " ".join(source.split())) != " ".join(handed_out[notebook].get(name, "").split())
    }


def fill_row(row: Row, course: Course, submission: SubmittedAssignment, submitted: bool) -> None:
    """Fill in a graded submission's data."""
    result = latest(course, row.student)
    row.state = GRADED
    row.penalty = submission.late_submission_penalty
    points = points_of(submission)
    row.points, row.bonus = points.required, points.bonus
    row.total = max(0.0, submission.score - row.penalty)
    row.seconds = result.seconds if result else None
    for notebook in submission.notebooks:
        ran = was_run(course, row.student, notebook.name, result)
        for grade in notebook.grades:
            manual, is_bonus = bool(grade.needs_manual_grade), grade.max_score == 0
            passed = None if grade.auto_score is None else not grade.failed_tests
            if is_bonus:  # nbgrader compares its points with a maximum of 0
                passed = (grade.auto_score or 0) >= course.bonus.get(grade.name, 0)
            row.marks[notebook.name, grade.name] = Mark(grade.score, ran, passed, manual, is_bonus)
    row.feedback = dict(feedback_links(course, row.student, submission.notebooks))
    row.remarks = list(remarks_on(row, course, result, submitted))


def was_run(course: Course, student: str, notebook: str, result: Result | None) -> bool:
    """Return whether nbgrader ran a notebook; one that was missing or invalid has 0 points too."""
    if result and notebook in result.notebooks:
        return result.notebooks[notebook].outcome == "graded"
    return graded_notebook(course, student, notebook).is_file()


def graded_notebook(course: Course, student: str, notebook: str) -> Path:
    return course.autograded(student) / f"{notebook}.ipynb"


def feedback_links(course: Course, student: str, notebooks: list[SubmittedNotebook]) -> Iterator[tuple[str, str]]:
    """Yield each notebook with a feedback page, and its link relative to the report's folder."""
    for notebook in notebooks:
        page = course.feedback(student) / f"{notebook.name}.html"
        if page.is_file():
            yield notebook.name, quote(os.fsencode(os.path.relpath(page, course.state)))


def remarks_on(row: Row, course: Course, result: Result | None, submitted: bool) -> Iterator[str]:
    """Yield why a graded submission needs the instructor's attention."""
    if result:
        # A missing notebook without checks, or whose checks are all bonus, costs no points.
        required = {notebook for (notebook, _), mark in row.marks.items() if not mark.is_bonus}
        harmless = {f"{notebook}: missing" for notebook in result.notebooks.keys() - required}
        yield from (remark for remark in result.remarks() if remark not in harmless)
        if submitted and is_newer(course, row.student, result):
            yield "resubmitted, not graded again yet"
    manual = [f"{notebook}: {name}" for (notebook, name), mark in row.marks.items() if mark.needs_manual_grade]
    if manual:
        yield f"to be graded manually: {', '.join(manual)}"


def is_newer(course: Course, student: str, result: Result) -> bool:
    """Return whether a submission has changed since it was graded; an unreadable one counts as changed."""
    try:
        return fingerprint(course.submission(student), course.ignore) != result.fingerprint
    except OSError:
        return True


def count_checks(row: Row, graded: dict[str, GradedNotebook], checks: list[Check]) -> None:
    """Add a student's marks to the counts of each check."""
    for check in checks:
        mark = row.mark(check)
        if mark is None or not mark.ran:
            check.not_run += 1
        elif mark.passed:
            check.passed += 1
        elif mark.passed is not None:
            check.failed += 1
            check.failures.append((row, graded[check.notebook].failures.get(check.name, NO_MESSAGE)))
