"""What students handed in: files of any kind, which are looked at before anything reads them."""

import codecs
import contextlib
import fnmatch
import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from nbgrader.utils import parse_utc

from grading.course import Course, printable
from grading.folders import remove

MAX_DEPTH = 50
"""Levels of nested folders in a submission."""
MAX_FILES = 10_000
"""Files in a submission."""
MAX_PATH_BYTES = 2000
"""Length of a file's path in a submission, which must leave room for the folders that it is copied into."""

TIMESTAMP, SET_ASIDE = "timestamp.txt", "timestamp.txt.invalid"
MAX_TIMESTAMP_BYTES = 100
YEARS = range(1971, 2200)
"""Outside of these, converting a time to another time zone or to a database may fail."""
INVALID = f"{TIMESTAMP} has no valid time and was ignored"
IN_THE_FUTURE = f"{TIMESTAMP} has a time in the future"


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


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def read_timestamp(submission: Path) -> tuple[str | None, str]:
    """Return a submission's time, if it has a valid one, and a remark on it: the file may come from the student."""
    try:
        text = valid_timestamp(submission / TIMESTAMP)
    except ValueError:
        return None, INVALID
    if not text:
        return None, INVALID if os.path.lexists(submission / SET_ASIDE) else ""
    is_future = parse_utc(text) > datetime.now(UTC).replace(tzinfo=None)
    return text, IN_THE_FUTURE if is_future else ""


def set_timestamp_aside(submission: Path) -> None:
    """Rename a submission's invalid file, if that can be written to.

    nbgrader reads it whenever Formgrader lists the class, and fails for all if one is invalid.
    """
    try:
        valid_timestamp(submission / TIMESTAMP)
    except ValueError:
        with contextlib.suppress(OSError):
            remove(submission / SET_ASIDE)
            (submission / TIMESTAMP).rename(submission / SET_ASIDE)


def valid_timestamp(file: Path) -> str:
    """Return a file's time as text, empty if there is none. Raises `ValueError` if it is not a time."""
    if not file.is_symlink() and not file.exists():
        return ""
    if file.is_symlink() or not file.is_file():
        raise ValueError("not a regular file")
    with open(file, "rb") as stream:
        content = stream.read(MAX_TIMESTAMP_BYTES + 1)
    text = content.decode().strip()
    try:
        if len(content) <= MAX_TIMESTAMP_BYTES and (not text or (text.isprintable() and parse_utc(text).year in YEARS)):
            return text
    except Exception as error:  # dateutil raises many types, even arithmetic errors
        raise ValueError("not a time") from error
    raise ValueError("not a time of this century")
