"""The course as nbgrader's settings describe it, and the submissions in it."""

import codecs
import fnmatch
import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nbgrader.api import Gradebook, Student
from nbgrader.apps import AutogradeApp
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from traitlets.config import Config

from grading.errors import GradingError
from grading.folders import remove

MAX_DEPTH = 50
"""Levels of nested folders in a submission."""
MAX_FILES = 10_000
"""Files in a submission."""
MAX_PATH_BYTES = 2000
"""Length of a file's path in a submission, which must leave room for the folders that it is copied into."""


@dataclass(frozen=True)
class Course:
    """One assignment of a course, as a worker on another machine needs to know it."""

    assignment: str
    root: Path
    settings_folder: Path
    """The folder of nbgrader_config.py, which nbgrader reads from its current folder."""
    course_id: str
    db_url: str
    submitted_directory: str
    autograded_directory: str
    feedback_directory: str
    source_directory: str
    release_directory: str
    directory_structure: str
    ignore: tuple[str, ...]
    """Patterns of file names that do not belong to a submission."""
    cell_timeout: int
    """The time limit of one cell, in seconds."""
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

    @property
    def gradebook_name(self) -> str:
        """The gradebook's URL without its password, for messages."""
        return make_url(self.db_url).render_as_string(hide_password=True)

    def open_gradebook(self) -> Gradebook:
        """Open the course's gradebook. Raises `GradingError` if its database or the database driver is unavailable."""
        try:
            return Gradebook(self.db_url, self.course_id)
        except (SQLAlchemyError, ImportError) as error:
            why = str(getattr(error, "orig", error)).strip().replace("\n", " ")
            raise GradingError(f"The gradebook {self.gradebook_name} cannot be opened: {why}") from error

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


def read_course(assignment: str | None = None, root: Path | None = None) -> tuple[Course, Config]:
    """Read the course that nbgrader's settings in the current folder describe; return it with these settings.

    `assignment` defaults to the course's name, and `root` to the folder in the settings, or else the current folder.
    Raises `GradingError` if there are no settings.
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
        release_directory=directory.release_directory,
        directory_structure=directory.directory_structure,
        ignore=tuple(directory.ignore),
        cell_timeout=app.config.Execute.get("timeout", 30),
        bonus=app.config.BonusPoints.get("points", {}),
    )
    return course, app.config


@dataclass
class Contents:
    """The contents of a submission: paths relative to its folder, in a fixed order."""

    files: list[Path] = field(default_factory=list)
    """The regular files, which are graded."""
    links: list[Path] = field(default_factory=list)
    """Symbolic links, which are not followed: they could lead anywhere."""
    unreadable: list[Path] = field(default_factory=list)
    too_deep: bool = False
    """Whether folders are nested so deeply that limits of the system or Python could be reached."""

    def remarks(self) -> list[str]:
        """Describe what was ignored, for the report."""
        deep = ["folders nested too deeply were ignored"] if self.too_deep else []
        return [
            *(f"{_name(path)} is a symbolic link and was ignored" for path in sorted(self.links)),
            *(f"{_name(path)} is unreadable and was ignored" for path in sorted(self.unreadable)),
            *deep,
        ]


def inspect_submission(submission: Path, ignore: tuple[str, ...]) -> Contents:
    """List the contents of a submission; `ignore` are patterns of names that do not belong to it."""
    contents = Contents()
    if submission.is_symlink():
        contents.links.append(Path())
        return contents
    for place, folders, files in os.walk(submission, onerror=_raise):
        names, inside = sorted(folders + files), Path(place).relative_to(submission)
        folders[:] = [name for name in names if _classify(submission, inside / name, ignore, contents)]
    return contents


def _classify(submission: Path, path: Path, ignore: tuple[str, ...], contents: Contents) -> bool:
    """Add a path in a submission to its contents; return whether it is a folder to descend into."""
    place = submission / path
    if _matches(path.name, ignore):
        return False
    if len(path.parts) > MAX_DEPTH or len(os.fsencode(path)) > MAX_PATH_BYTES:
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


def _raise(error: OSError) -> None:
    raise error


def _name(path: Path) -> str:
    """Return the name of a path in a submission for remarks."""
    return printable(str(path)) if path.parts else "the folder"


def looks_like_notebook(name: str) -> bool:
    """Return whether a file's name is that of a notebook, perhaps after a browser or the student has renamed it."""
    return ".ipynb" in name.lower() and not name.startswith("._")


COPY = r"(?i:( ?\(\d+\)|[ -]\d+|-copy\d+)?\.ipynb)"
"""How the name of a notebook ends after a browser or Jupyter has saved it beside another: Chrome's `one (1).ipynb`."""


def renamed_copies(files: Iterable[str], notebooks: Iterable[str]) -> dict[str, str]:
    """Return which of these names can only be an assigned notebook's copy, with the notebook's own name.

    There is one such name then, and the notebook's own is missing.
    """
    files, expected = list(files), {f"{name}.ipynb" for name in notebooks}
    copies = {
        own: [
            file
            for file in files
            if file not in expected and re.fullmatch(re.escape(own[: -len(".ipynb")]) + COPY, file)
        ]
        for own in sorted(expected.difference(files))
    }
    return {found[0]: own for own, found in copies.items() if len(found) == 1}


def copy_submission(submission: Path, target: Path, contents: Contents) -> None:
    """Copy the files, accessible to our user only."""
    target.mkdir(parents=True)
    for path in contents.files:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        _copy(submission / path, target / path)


def _copy(file: Path, target: Path) -> None:
    """Copy a file, a notebook without the byte order mark that some editors on Windows add and nbgrader refuses."""
    with open(file, "rb") as reading, open(target, "wb") as writing:
        if file.suffix != ".ipynb" or reading.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            reading.seek(0)
        shutil.copyfileobj(reading, writing)


def why_too_large(submission: Path, ignore: tuple[str, ...], file_megabytes: float, megabytes: float) -> str:
    """Return why a submission is too large to be read; empty if it is not. Raises `OSError` if it is unreadable."""
    files = inspect_submission(submission, ignore).files
    if len(files) > MAX_FILES:
        return f"it has {len(files):,} files, and {MAX_FILES:,} are the limit"
    sizes = {path: (submission / path).stat().st_size / 1e6 for path in files}
    largest = max(sizes, key=lambda path: sizes[path], default=Path())
    if sizes.get(largest, 0) > file_megabytes:
        return f"{printable(str(largest))} has {sizes[largest]:,.0f} MB, and {file_megabytes:g} are the limit of a file"
    total = sum(sizes.values())
    return f"its files have {total:,.0f} MB, and {megabytes:g} are the limit" if total > megabytes else ""


def fingerprint(submission: Path, ignore: tuple[str, ...]) -> str:
    """Hash the names and contents of all files of a submission, so that any change changes the hash.

    Raises `OSError` if the folder is unreadable.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in inspect_submission(submission, ignore).files:
        with open(submission / path, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(os.fsencode(path) + b"\0" + content.encode() + b"\n")
    return digest.hexdigest()


def copy_source(course: Course, target: Path) -> None:
    """Copy the instructor's files beside the notebooks, which nbgrader copies over the student's, but no notebooks."""
    if course.source.is_dir():
        excluded = shutil.ignore_patterns("*.ipynb", *course.ignore)
        shutil.copytree(course.source, target, ignore=excluded, ignore_dangling_symlinks=True)


def remove_conflicts(source: Path, place: Path) -> None:
    """Remove a student's folders named like the instructor's files, and vice versa: nbgrader fails on these."""
    for path in source.rglob("*"):
        theirs = place / path.relative_to(source)
        if theirs.exists() and theirs.is_dir() != path.is_dir():
            remove(theirs)


def notebook_names(course: Course) -> list[str]:
    """Return the names of the assignment's notebooks in the gradebook.

    Raises `GradingError` if the gradebook does not have the assignment.
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
