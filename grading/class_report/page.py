"""Render the page, and export nbgrader's table of grades beside it."""

import datetime
import statistics
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from grading.class_report.class_data import ABSENT, PENDING, ClassData, Mark
from grading.course import Course
from grading.gradebooks import CourseGradebook
from grading.tables import GradesTable

PAGE = "report.html"
TABLE = "grades.csv"


def write(course: Course, gradebook: CourseGradebook, data: ClassData) -> tuple[Path, Path]:
    """Write the page and the table of grades; return their paths."""
    course.state.mkdir(parents=True, exist_ok=True)
    page, table = course.state / PAGE, course.state / TABLE
    # A folder name that is not valid Unicode must not prevent the page.
    page.write_text(render(data), encoding="utf-8", errors="xmlcharrefreplace")
    with gradebook.open() as book:
        GradesTable(to=str(table), assignment=[course.assignment]).export(book)
    return page, table


def render(data: ClassData) -> str:
    """Return the page's HTML. All data are escaped: names and messages come from students."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"number": number, "duration": duration, "css_class": css_class}
    graded = data.graded
    return environment.get_template("page.html").render(
        data=data,
        graded=graded,
        pending=data.rows_in_state(PENDING),
        absent=data.rows_in_state(ABSENT),
        needs_attention=[row for row in data.rows if row.remarks],
        timed=sorted((row for row in graded if row.seconds is not None), key=lambda row: -row.seconds),
        without_feedback=[row for row in graded if not row.feedback],
        median=statistics.median(row.points for row in graded) if graded else None,
        late=any(row.penalty for row in graded),
        means=means(data) if graded else [],
        written=datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
    )


def means(data: ClassData) -> list[float | None]:
    """Return the mean points in each notebook, None for one with only bonus checks, followed by those in its checks."""
    found: list[float | None] = []
    for notebook, checks in data.notebooks.items():
        required = any(not check.is_bonus for check in checks)
        found.append(statistics.fmean(row.points_in(notebook) for row in data.graded) if required else None)
        found += [statistics.fmean(row.points_of(check) for row in data.graded) for check in checks]
    return found


def number(value: float) -> str:
    """Format points without trailing zeros: `3`, `2.5`, `33.33`."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """Format a duration: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def css_class(mark: Mark | None, max_points: float) -> str:
    """Return the CSS class of a mark in the table."""
    if mark is None or not mark.ran:
        return "none"
    if mark.points >= max_points:
        return "full"
    return "part" if mark.points else "zero"
