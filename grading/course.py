"""The course as nbgrader's settings describe it: what is graded, and where everything is."""

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Student
from nbgrader.apps import NbGrader

from grading.errors import GradingError


@dataclass(frozen=True)
class Course:
    """One assignment of a course, as a worker on another machine needs to know it."""

    assignment: str
    root: Path
    settings_folder: Path
    """The folder of nbgrader_config.py, which nbgrader reads from its current folder."""
    submitted_directory: str
    autograded_directory: str
    feedback_directory: str
    source_directory: str
    release_directory: str
    directory_structure: str
    ignore: tuple[str, ...]
    """Patterns of file names that do not belong to a submission."""
    bonus: dict[str, float]
    """What the bonus checks are worth, by grade id; their maximum in the gradebook is 0."""

    @property
    def state(self) -> Path:
        """The folder of the results, whether entered into the gradebook or not yet."""
        return self.root / ".grading" / self.assignment

    @property
    def source(self) -> Path:
        """The folder of the instructor's versions of the assignment's files, including the solutions."""
        return self._path(self.source_directory, ".")

    @property
    def release(self) -> Path:
        """The folder of the notebooks that students get."""
        return self._path(self.release_directory, ".")

    def submission(self, student: str) -> Path:
        return self._path(self.submitted_directory, student)

    def autograded(self, student: str) -> Path:
        return self._path(self.autograded_directory, student)

    def feedback(self, student: str) -> Path:
        return self._path(self.feedback_directory, student)

    def students(self) -> list[str]:
        """Return every student with a folder for this assignment under submitted/, even an empty one."""
        before, after = str(self.submission("\0")).split("\0")
        pattern = re.compile(re.escape(before) + "([^/]+)" + re.escape(after))
        places = glob.glob(glob.escape(before) + "*" + glob.escape(after), include_hidden=True)
        matches = [pattern.fullmatch(place) for place in places if os.path.isdir(place)]
        return sorted(match[1] for match in matches if match)

    def _path(self, step: str, student: str) -> Path:
        names = {"nbgrader_step": step, "student_id": student, "assignment_id": self.assignment}
        return self.root / self.directory_structure.format(**names)


def read_settings(root: Path | None = None) -> NbGrader:
    """Return an application of nbgrader's with the settings in the current folder.

    `root` is the course's folder; by default it is that in the settings, or else the current folder.
    """
    app = NbGrader()
    app.initialize([f"--course-dir={root.resolve()}"] if root else [])
    return app


def course_of(app: NbGrader, assignment: str | None = None) -> Course:
    """Return the course that an application's settings describe.

    `assignment` defaults to the course's name. Raises `GradingError` if there are no settings.
    """
    directory = app.coursedir
    assignment = assignment or directory.assignment_id or directory.course_id
    if not assignment:
        raise GradingError(
            f"There is no nbgrader_config.py in {Path.cwd()} that names a course: run this in the course's folder, or "
            "name an assignment."
        )
    return Course(
        assignment=assignment,
        root=Path(directory.root).resolve(),
        settings_folder=Path.cwd(),
        submitted_directory=directory.submitted_directory,
        autograded_directory=directory.autograded_directory,
        feedback_directory=directory.feedback_directory,
        source_directory=directory.source_directory,
        release_directory=directory.release_directory,
        directory_structure=directory.directory_structure,
        ignore=tuple(directory.ignore),
        bonus=app.config.BonusPoints.get("points", {}),
    )


def why_invalid_name(student: str) -> str:
    """Return why a student with this name cannot be graded; empty for a valid name."""
    if escape_undecodable(student) != student:
        return "its folder name is not valid UTF-8"
    if student.startswith("."):  # nbgrader does not find it
        return "its folder name begins with a dot"
    # nbgrader would write no feedback for this student or any after them.
    return "its folder name contains a line break" if "\n" in student else ""


def escape_undecodable(name: str) -> str:
    r"""Escape the bytes of a file name that are not valid UTF-8, such as `\xe9`."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def full_name(student: Student | None) -> str:
    """Return first and last name, as far as they are in the gradebook."""
    names = (student.first_name, student.last_name) if student else ()
    return " ".join(name for name in names if name)


def printable(text: str) -> str:
    r"""Escape the characters of a text that a terminal cannot print, such as `\n`."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in escape_undecodable(text))
