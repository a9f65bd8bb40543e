"""The course as nbgrader's settings describe it, and the submissions in it."""

import fnmatch
import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.apps import AutogradeApp
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from traitlets.config import Config

from grading.errors import GradingError


@dataclass(frozen=True)
class Course:
    """One assignment of a course; what a worker on another machine needs to know of it."""

    assignment: str
    root: Path
    settings_folder: Path
    """Where nbgrader_config.py lies: nbgrader reads the one in the folder in which it is started."""
    course_id: str
    db_url: str
    submitted_directory: str
    autograded_directory: str
    feedback_directory: str
    source_directory: str
    directory_structure: str
    ignore: tuple[str, ...]
    """Patterns of file names that are no part of a submission."""
    cell_timeout: int
    """The seconds that one cell may take."""

    @property
    def state(self) -> Path:
        """Where results wait to be entered, and what has been entered is noted."""
        return self.root / ".grading" / self.assignment

    def submission(self, student: str) -> Path:
        return self._path(self.submitted_directory, student)

    def autograded(self, student: str) -> Path:
        return self._path(self.autograded_directory, student)

    def feedback(self, student: str) -> Path:
        return self._path(self.feedback_directory, student)

    @property
    def gradebook_name(self) -> str:
        """Where the gradebook is, without a password, for people to read."""
        return make_url(self.db_url).render_as_string(hide_password=True)

    def open_gradebook(self) -> Gradebook:
        """The course's gradebook. Raises `GradingError` where its database, or the driver for that, is not there."""
        try:
            return Gradebook(self.db_url, self.course_id)
        except (SQLAlchemyError, ImportError) as error:
            why = str(getattr(error, "orig", error)).strip().replace("\n", " ")
            raise GradingError(f"The gradebook {self.gradebook_name} cannot be opened: {why}") from error

    def students(self) -> list[str]:
        """Everybody who has a folder for this assignment under submitted/, also an empty one."""
        before, after = str(self.submission("\0")).split("\0")
        pattern = re.compile(re.escape(before) + "([^/]+)" + re.escape(after))
        places = glob.glob(glob.escape(before) + "*" + glob.escape(after))
        matches = [pattern.fullmatch(place) for place in places if os.path.isdir(place)]
        return sorted(match[1] for match in matches if match)

    def _path(self, step: str, student: str) -> Path:
        names = {"nbgrader_step": step, "student_id": student, "assignment_id": self.assignment}
        return self.root / self.directory_structure.format(**names)


def read_course(assignment: str | None = None, root: Path | None = None) -> tuple[Course, Config]:
    """The course that nbgrader's settings in the current folder describe, and these settings.

    `assignment` is by default named as the course is, and `root` is where the settings say, or the current folder.
    """
    app = AutogradeApp()
    app.initialize([f"--course-dir={root.resolve()}"] if root else [])
    directory = app.coursedir
    course = Course(
        assignment=assignment or directory.assignment_id or directory.course_id,
        root=Path(directory.root).resolve(),
        settings_folder=Path.cwd(),
        course_id=directory.course_id,
        db_url=directory.db_url,
        submitted_directory=directory.submitted_directory,
        autograded_directory=directory.autograded_directory,
        feedback_directory=directory.feedback_directory,
        source_directory=directory.source_directory,
        directory_structure=directory.directory_structure,
        ignore=tuple(directory.ignore),
        cell_timeout=app.config.Execute.get("timeout", 30),
    )
    return course, app.config


def files_of(submission: Path, ignore: tuple[str, ...]) -> Iterator[Path]:
    """A submission's regular files, in a fixed order. Links are not followed: they could lead anywhere."""
    for folder, folders, files in os.walk(submission):
        folders[:] = sorted(name for name in folders if not _matches(name, ignore))
        for name in sorted(files):
            path = Path(folder) / name
            if not _matches(name, ignore) and path.is_file() and not path.is_symlink():
                yield path


def links_in(submission: Path) -> list[str]:
    """The names of a submission's symbolic links, relative to its folder."""
    found = [Path(folder) / name for folder, folders, files in os.walk(submission) for name in folders + files]
    return sorted(str(path.relative_to(submission)) for path in found if path.is_symlink())


def copy_submission(submission: Path, target: Path, ignore: tuple[str, ...]) -> None:
    """Copy the regular files, to be read and written by us alone."""
    target.mkdir(parents=True)
    for file in files_of(submission, ignore):
        place = target / file.relative_to(submission)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def fingerprint(submission: Path, ignore: tuple[str, ...]) -> str:
    """A hash of the names and contents of all files of a submission: another one is another submission."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files_of(submission, ignore):
        with open(file, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(os.fsencode(file.relative_to(submission)) + b"\0" + content.encode() + b"\n")
    return digest.hexdigest()


def notebooks_of(course: Course) -> list[str]:
    """The names of the notebooks that the gradebook has for the assignment.

    Raises `GradingError` where it does not know the assignment.
    """
    with course.open_gradebook() as gradebook:
        names = [assignment.name for assignment in gradebook.assignments]
        if course.assignment not in names:
            raise GradingError(
                f"The gradebook has no assignment {course.assignment!r}: run `nbgrader generate_assignment "
                f"{course.assignment} --create --force` first."
            )
        return sorted(notebook.name for notebook in gradebook.find_assignment(course.assignment).notebooks)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
