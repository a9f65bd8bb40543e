"""The course as nbgrader's settings describe it, and the submissions in it."""

import fnmatch
import glob
import hashlib
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.apps import AutogradeApp
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from traitlets.config import Config

from grading.errors import GradingError
from grading.folders import remove

DEEPEST = 50
"""Folders in folders, in a submission."""
LONGEST = 2000
"""Bytes of a file's path in a submission: it must be short enough to be copied into other folders."""


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

    @property
    def source(self) -> Path:
        """Where the instructor's versions of the assignment's files lie, the solutions among them."""
        return self._path(self.source_directory, ".")

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
    Raises `GradingError` where there are no settings.
    """
    app = AutogradeApp()
    app.initialize([f"--course-dir={root.resolve()}"] if root else [])
    directory = app.coursedir
    assignment = assignment or directory.assignment_id or directory.course_id
    if not assignment:
        raise GradingError(
            f"There is no nbgrader_config.py in {Path.cwd()} that names a course: run this in the course's folder, or "
            "name an assignment."
        )
    course = Course(
        assignment=assignment,
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


@dataclass
class Contents:
    """What is in a submission, each relative to its folder and in a fixed order."""

    files: list[Path] = field(default_factory=list)
    """The regular files, which are graded."""
    links: list[Path] = field(default_factory=list)
    """Symbolic links are not followed: they could lead anywhere."""
    unreadable: list[Path] = field(default_factory=list)
    too_deep: bool = False
    """Whether there are folders of which the system's and Python's limits would make trouble."""

    def remarks(self) -> list[str]:
        """What was left out."""
        deep = ["folders too deep in others were left out"] if self.too_deep else []
        return [
            *(f"{_name(path)} is a link and was left out" for path in sorted(self.links)),
            *(f"{_name(path)} cannot be read and was left out" for path in sorted(self.unreadable)),
            *deep,
        ]


def look_at(submission: Path, ignore: tuple[str, ...]) -> Contents:
    """What is in a submission; `ignore` are patterns of names that are no part of it."""
    contents = Contents()
    if submission.is_symlink():
        contents.links.append(Path())
        return contents
    for place, folders, files in os.walk(submission, onerror=_fail):
        names, inside = sorted(folders + files), Path(place).relative_to(submission)
        folders[:] = [name for name in names if _take(submission, inside / name, ignore, contents)]
    return contents


def _take(submission: Path, path: Path, ignore: tuple[str, ...], contents: Contents) -> bool:
    """Note what is at a path in a submission; return whether it is a folder to look into."""
    place = submission / path
    if _matches(path.name, ignore):
        return False
    if len(path.parts) > DEEPEST or len(os.fsencode(path)) > LONGEST:
        contents.too_deep = True
    elif place.is_symlink():
        contents.links.append(path)
    elif not os.access(place, os.R_OK | os.X_OK if place.is_dir() else os.R_OK):
        contents.unreadable.append(path)
    elif place.is_file():
        contents.files.append(path)
    else:
        return place.is_dir()
    return False


def _fail(error: OSError) -> None:
    raise error


def _name(path: Path) -> str:
    """What remarks call a path in a submission."""
    return printable(str(path)) if path.parts else "the folder"


def copy_submission(submission: Path, target: Path, contents: Contents) -> None:
    """Copy the files, to be read and written by us alone."""
    target.mkdir(parents=True)
    for path in contents.files:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(submission / path, target / path)


def fingerprint(submission: Path, ignore: tuple[str, ...]) -> str:
    """A hash of the names and contents of all files of a submission: another one is another submission.

    Raises `OSError` where they cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in look_at(submission, ignore).files:
        with open(submission / path, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(os.fsencode(path) + b"\0" + content.encode() + b"\n")
    return digest.hexdigest()


def copy_source(course: Course, target: Path) -> None:
    """Copy what the instructor lays beside the notebooks, for nbgrader to put over a student's, without these."""
    if course.source.is_dir():
        left_out = shutil.ignore_patterns("*.ipynb", *course.ignore)
        shutil.copytree(course.source, target, ignore=left_out, ignore_dangling_symlinks=True)


def make_way(source: Path, place: Path) -> None:
    """Remove a student's folders where the instructor has files, and files where folders: nbgrader fails on these."""
    for path in source.rglob("*"):
        theirs = place / path.relative_to(source)
        if theirs.exists() and theirs.is_dir() != path.is_dir():
            remove(theirs)


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


def flaw_in_name(student: str) -> str:
    """Why a student of this name cannot be graded; empty for all names but the oddest."""
    if as_text(student) != student:
        return "the name of its folder is not UTF-8"
    # For whom nbgrader would make no feedback, nor for anybody after them.
    return "the name of its folder has a line break" if "\n" in student else ""


def as_text(name: str) -> str:
    r"""A name with its bytes that are not UTF-8 spelled out, such as `\xe9`."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def printable(text: str) -> str:
    r"""The text for a line on a terminal: what is no visible character is spelled out, such as `\n`."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in as_text(text))
