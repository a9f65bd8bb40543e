"""`python -m grading`: grade a class in parallel, with nbgrader."""

import argparse
import os
import sys
import warnings
from pathlib import Path

from sqlalchemy.exc import SAWarning

from grading import classroom
from grading.classroom import Options
from grading.course import printable, read_course
from grading.errors import GradingError
from grading.kernels import sandbox


def main(arguments: list[str] | None = None) -> int:
    """Grade the class; return 0, or 1 if a submission could not be graded."""
    options = parser().parse_args(arguments)
    # About how nbgrader makes the entry of a submission; the entry is right.
    warnings.simplefilter("ignore", SAWarning)
    try:
        course, settings = read_course(options.assignment, options.course_dir)
        students = choose(course.students(), options.student)
        if not students:
            raise GradingError(f"There is no submission like {course.submission('STUDENT')}.")
        if not options.without_sandbox:
            insist_on_sandbox()
        failed = classroom.grade_class(
            course,
            settings,
            students,
            Options(
                workers=options.workers,
                scheduler=options.scheduler,
                force=options.force,
                sandboxed=not options.without_sandbox,
                notebook_seconds=options.notebook_seconds,
            ),
        )
    except GradingError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on where this one was.", file=sys.stderr)
        return 130
    print(f"Points and remarks of the whole class: {course.state / 'report.csv'}")
    if failed:
        print(f"Not graded, try again: {', '.join(map(printable, failed))}", file=sys.stderr)
    return 1 if failed else 0


def insist_on_sandbox() -> None:
    """Stop where students' code could do whatever the instructor can, unless it was asked for."""
    if reason := sandbox.is_missing():
        raise GradingError(
            f"Students' code cannot be kept in a sandbox: {reason}. It would run as you, with your files, the "
            "gradebook and the network. If you trust all of it, add --without-sandbox."
        )


def choose(handed_in: list[str], asked_for: list[str] | None) -> list[str]:
    """The students to grade: all, or those that were asked for."""
    if unknown := sorted(set(asked_for or ()) - set(handed_in)):
        raise GradingError(f"There is no submission by {', '.join(unknown)}.")
    return asked_for or handed_in


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m grading", description=__doc__)
    parser.add_argument("assignment", nargs="?", help="by default the one named like the course")
    parser.add_argument("--course-dir", type=Path, help="by default what nbgrader_config.py says")
    parser.add_argument("--student", action="append", metavar="ID", help="only this student; can be repeated")
    parser.add_argument("--force", action="store_true", help="grade again what is graded already")
    parser.add_argument(
        "--workers", type=positive, default=os.cpu_count() or 1, help="processes; by default one a core"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a running dask scheduler, such as tcp://host:8786")
    parser.add_argument("--without-sandbox", action="store_true", help="let students' code do what you can do")
    parser.add_argument(
        "--notebook-seconds", type=positive, help="what a notebook may take; by default five times a cell's time limit"
    )
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


if __name__ == "__main__":
    sys.exit(main())
