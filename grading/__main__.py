"""`python -m grading`: grade a class in parallel, with nbgrader."""

import os
import sys
import warnings
from typing import ClassVar

from nbgrader.apps import NbGrader
from nbgrader.apps.baseapp import nbgrader_aliases, nbgrader_flags
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from traitlets.config import Configurable

from grading.classroom import Classroom
from grading.course import printable
from grading.errors import GradingError
from grading.kernels import sandbox
from grading.settings import ClassGrading


class GradingApp(NbGrader):
    """nbgrader's kind of application, with the options of grading a class."""

    name = "python -m grading"
    description = "Grade the submissions of an assignment, by default the one with the course's name."
    classes: ClassVar[list[type[Configurable]]] = [ClassGrading, CourseDirectory]
    aliases: ClassVar[dict[str, str]] = {
        **{name: nbgrader_aliases[name] for name in ("assignment", "course-dir", "db", "log-level")},
        "student": "ClassGrading.students",
        "workers": "ClassGrading.workers",
        "scheduler": "ClassGrading.scheduler",
        "notebook-seconds": "ClassGrading.notebook_seconds",
    }
    flags: ClassVar[dict[str, tuple]] = {
        **nbgrader_flags,
        "force": ({"ClassGrading": {"force": True}}, "also grade submissions that are graded already"),
        "without-sandbox": ({"ClassGrading": {"sandboxed": False}}, "run students' code with your own permissions"),
    }

    def grade(self) -> int:
        """Grade the class; return 0, or 1 if a submission could not be graded."""
        if len(self.extra_args) > 1:
            raise GradingError("Name one assignment.")
        classroom = Classroom.of(self, next(iter(self.extra_args), None))
        students = select_students(classroom.course.students(), classroom.settings.students)
        if not students:
            raise GradingError(f"There are no submissions in folders such as {classroom.course.submission('STUDENT')}.")
        if classroom.settings.sandboxed:
            require_sandbox()
        failed = classroom.grade(students)
        print(f"Points and remarks for the whole class: {classroom.course.state / 'report.csv'}")
        if failed:
            print(f"Not graded, try again: {', '.join(map(printable, failed))}", file=sys.stderr)
        return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Grade the class with these arguments; return the exit code."""
    # A warning about how nbgrader creates the entry of a submission; the entry is right.
    warnings.simplefilter("ignore", SAWarning)
    app = GradingApp()
    app.initialize(arguments)
    try:
        return app.grade()
    except GradingError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; run the same command again to resume.", file=sys.stderr, flush=True)
        os._exit(130)  # at once, and with it the processes that grade: Python would wait for its threads


def require_sandbox() -> None:
    """Raise `GradingError` if no sandbox is available to restrict what students' code can do."""
    if reason := sandbox.why_unavailable():
        raise GradingError(
            f"Students' code cannot be sandboxed: {reason}. It would run with your permissions and could access your "
            "files, the gradebook and the network. If you trust all of it, add --without-sandbox."
        )


def select_students(submitted: list[str], requested: list[str]) -> list[str]:
    """Return the students to grade: those requested, or all."""
    if unknown := sorted(set(requested) - set(submitted)):
        raise GradingError(f"There is no submission by {', '.join(unknown)}.")
    return requested or submitted


if __name__ == "__main__":
    sys.exit(main())
