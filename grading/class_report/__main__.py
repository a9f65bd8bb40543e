"""`python -m grading.class_report`: write a page on a graded class, and nbgrader's table of its grades."""

import argparse
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from grading.class_report import page
from grading.class_report.class_data import read_class
from grading.course import course_of, read_settings
from grading.errors import GradingError
from grading.gradebooks import CourseGradebook


def main(arguments: list[str] | None = None) -> int:
    """Write the page and the table, and print their paths; return 0, or 1 if there is nothing to report on."""
    options = parser().parse_args(arguments)
    try:
        app = read_settings(options.course_dir)
        course, gradebook = course_of(app, options.assignment), CourseGradebook.of(app)
        report, table = page.write(course, gradebook, read_class(course, gradebook))
    except GradingError as error:
        print(error, file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"The gradebook {gradebook.name} cannot be read: {first_line(error)}", file=sys.stderr)
        return 1
    print(f"The class on one page: {report}\nGrades as nbgrader exports them: {table}")
    return 0


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m grading.class_report", description=__doc__)
    parser.add_argument("assignment", nargs="?", help="by default the one with the course's name")
    parser.add_argument("--course-dir", type=Path, help="by default the one in nbgrader_config.py")
    return parser


if __name__ == "__main__":
    sys.exit(main())
