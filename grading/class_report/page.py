"""The page, and nbgrader's own table of grades beside it."""

import datetime
import statistics
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbgrader.plugins.export import CsvExportPlugin

from grading.class_report.figures import ABSENT, WAITING, ClassFigures, Mark
from grading.course import Course

PAGE = "report.html"
TABLE = "grades.csv"


def write(course: Course, figures: ClassFigures) -> tuple[Path, Path]:
    """Write the page and the table of grades; return where they are."""
    course.state.mkdir(parents=True, exist_ok=True)
    page, table = course.state / PAGE, course.state / TABLE
    # A name that is no proper text, as a folder's may be, must not cost the class its page.
    page.write_text(render(figures), encoding="utf-8", errors="xmlcharrefreplace")
    with course.open_gradebook() as gradebook:
        CsvExportPlugin(to=str(table), assignment=[course.assignment]).export(gradebook)
    return page, table


def render(figures: ClassFigures) -> str:
    """The page as text. Everything that is filled in is escaped: names and messages come from students."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"number": number, "duration": duration, "kind": kind}
    graded = figures.graded
    return environment.get_template("page.html").render(
        figures=figures,
        graded=graded,
        waiting=figures.rows_that_are(WAITING),
        absent=figures.rows_that_are(ABSENT),
        to_look_at=[row for row in figures.rows if row.remarks],
        timed=sorted((row for row in graded if row.seconds is not None), key=lambda row: -row.seconds),
        without_feedback=[row for row in graded if not row.feedback],
        median=statistics.median(row.points for row in graded) if graded else None,
        late=any(row.penalty for row in graded),
        means=means(figures) if graded else [],
        written=datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
    )


def means(figures: ClassFigures) -> list[float]:
    """The mean in each notebook, followed by those in its checks."""
    found = []
    for notebook, checks in figures.notebooks.items():
        found.append(figures.mean(lambda row, notebook=notebook: row.points_in(notebook)))
        found += [figures.mean(lambda row, check=check: row.points_of(check)) for check in checks]
    return found


def number(value: float) -> str:
    """Points without superfluous zeros: `3`, `2.5`, `33.33`."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """A time that is easy to read: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def kind(mark: Mark | None, most: float) -> str:
    """How a mark looks in the table: the name of a CSS class."""
    if mark is None or not mark.ran:
        return "none"
    if mark.points >= most:
        return "full"
    return "part" if mark.points else "zero"
