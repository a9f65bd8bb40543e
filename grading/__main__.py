"""`python -m grading`: grade a class in parallel, with nbgrader."""

import argparse
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
    # A warning about how nbgrader creates the entry of a submission; the entry is right.
    warnings.simplefilter("ignore", SAWarning)
    try:
        course, settings = read_course(options.assignment, options.course_dir)
        students = select_students(course.students(), options.student)
        if not students:
            raise GradingError(f"There are no submissions in folders such as {course.submission('STUDENT')}.")
        if not options.without_sandbox:
            require_sandbox()
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
        print("\nInterrupted; run the same command again to resume.", file=sys.stderr)
        return 130
    print(f"Points and remarks for the whole class: {course.state / 'report.csv'}")
    if failed:
        print(f"Not graded, try again: {', '.join(map(printable, failed))}", file=sys.stderr)
    return 1 if failed else 0


def require_sandbox() -> None:
    """Raise `GradingError` if no sandbox is available to restrict what students' code can do."""
    if reason := sandbox.why_unavailable():
        raise GradingError(
            f"Students' code cannot be sandboxed: {reason}. It would run with your permissions and could access your "
            "files, the gradebook and the network. If you trust all of it, add --without-sandbox."
        )


def select_students(submitted: list[str], requested: list[str] | None) -> list[str]:
    """Return the students to grade: those requested, or all."""
    if unknown := sorted(set(requested or ()) - set(submitted)):
        raise GradingError(f"There is no submission by {', '.join(unknown)}.")
    return requested or submitted


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m grading", description=__doc__)
    parser.add_argument("assignment", nargs="?", help="by default the one with the course's name")
    parser.add_argument("--course-dir", type=Path, help="by default the one in nbgrader_config.py")
    parser.add_argument("--student", action="append", metavar="ID", help="only this student; can be repeated")
    parser.add_argument("--force", action="store_true", help="also grade submissions that are graded already")
    parser.add_argument(
        "--workers",
        type=positive,
        default=Options.workers,
        help=f"number of processes; by default one per core that this process may use, here {Options.workers}",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="address of a running dask scheduler, such as tcp://host:8786"
    )
    parser.add_argument("--without-sandbox", action="store_true", help="run students' code with your own permissions")
    parser.add_argument(
        "--notebook-seconds", type=positive, help="time limit of a notebook; by default five times that of a cell"
    )
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


if __name__ == "__main__":
    sys.exit(main())
