"""Plugins for `nbgrader zip_collect`, which collects what students handed in on a learning platform.

Each file or folder in `downloaded/<assignment>/archive/` is what one student handed in: a zip or tar archive, or a
folder that may hold archives. Its notebooks are collected, wherever they lie in it. One that cannot be read is named
and skipped.
"""

import contextlib
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from nbgrader.plugins import ExtractorPlugin, FileNameCollectorPlugin
from nbgrader.utils import parse_utc
from traitlets import Unicode

from grading.course import printable
from grading.submissions import looks_like_notebook, renamed_copies

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz")
MAX_DEPTH = 3
"""Archives in archives in an archive."""
MAX_BYTES = 500_000_000
"""The size of a notebook, which may be a thousand times that of its archive."""

MAX_NAME_BYTES = 255
ENCRYPTED = 0x1
"""The bit in the flags of a file in a zip archive."""


class UnusableError(Exception):
    """What a student handed in cannot be collected; the message says why."""


class NotebookExtractor(ExtractorPlugin):
    """Copy the notebooks that each student handed in to `extracted/<student>/`, and nothing else."""

    named_regexp = Unicode(
        r"(?P<student_id>.+?)(_(?P<timestamp>\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d))?",
        help="The name of an archive, without its suffix: the student's and, optionally, the time of submission in UTC",
    ).tag(config=True)

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """Extract the notebooks of all archives; of a notebook handed in several times, the latest is kept."""
        submissions: list[tuple[datetime, Path, str]] = []
        skipped: list[tuple[str, Exception]] = []
        places = sorted(place for place in Path(archive_path).iterdir() if not _is_ignored(PurePosixPath(place.name)))
        for place in places:
            try:
                student, time = self._read_name(place)
                submissions.append((time or datetime.min, place, student))
            except UnusableError as error:
                skipped.append((place.name, error))
        for time, place, student in sorted(submissions):
            try:
                folder = Path(extracted_path, student)
                notebooks = self._read_notebooks(place)
                if folder.exists() and time == datetime.min:
                    self.log.warning(
                        "%s replaces notebooks of another archive by %s.", *map(printable, (place.name, student))
                    )
                folder.mkdir(exist_ok=True)
                renamed = renamed_copies(notebooks, self._assigned())
                for name, own in renamed.items():
                    self.log.warning("%s: %s is collected as %s.", *map(printable, (place.name, name, own)))
                for name, content in notebooks.items():
                    (folder / renamed.get(name, name)).write_bytes(content)
                if time != datetime.min:
                    (folder / "timestamp.txt").write_text(time.isoformat(" "))
            except Exception as error:  # damage, passwords and odd names have many types
                skipped.append((place.name, error))
        for name, why in skipped:
            self.log.warning("%s is not collected: %s.", printable(name), printable(str(why)))
        if skipped:
            names = ", ".join(printable(name) for name, _ in skipped)
            self.log.warning("%d of %d are not collected: %s", len(skipped), len(places), names)

    def _read_name(self, place: Path) -> tuple[str, datetime | None]:
        """Return the student and the time of submission, if any, by the name of an archive or folder."""
        name = place.name if place.is_dir() else re.sub(r"(\.tar)?\.\w+$", "", place.name)
        match = re.fullmatch(self.named_regexp, name)
        if looks_like_notebook(place.name):
            raise UnusableError("it is a notebook outside of a student's archive or folder")
        if not match:
            raise UnusableError(f"its name does not match {self.named_regexp}")
        try:
            return match["student_id"], parse_utc(match.groupdict().get("timestamp"))
        except (ValueError, OverflowError):
            raise UnusableError(f"{match['timestamp']} is not a time") from None

    def _read_notebooks(self, place: Path) -> dict[str, bytes]:
        """Read the notebooks that a student handed in, by name. Raises `UnusableError` if there are none."""
        found: dict[str, list[tuple[PurePosixPath, bytes]]] = {}
        for path, content in _notebooks_in(place):
            found.setdefault(path.name, []).append((path, content))
        if not found:
            raise UnusableError("there is no notebook in it")
        for name, copies in found.items():
            copies.sort(key=lambda copy: self._preference(copy[0]))
            if others := [
                path for path, content in copies[1:] if content != copies[0][1] and not self._is_source(path)
            ]:
                self.log.warning(
                    "%s has several copies of %s: %s is collected, %s is not.",
                    *(printable(str(part)) for part in (place.name, name, copies[0][0], ", ".join(map(str, others)))),
                )
        return {name: copies[0][1] for name, copies in found.items()}

    def _assigned(self) -> list[str]:
        """Return the names of the assignment's notebooks, by the instructor's."""
        coursedir = self.parent.coursedir
        source = coursedir.format_path(coursedir.source_directory, ".", coursedir.assignment_id)
        return [file.stem for file in Path(source).glob("*.ipynb")]

    def _preference(self, path: PurePosixPath) -> tuple[bool, bool, int, str]:
        """Sort the copies of a notebook: first what lies among the exercises, last what lies among the solutions."""
        is_released = self.parent.coursedir.release_directory in path.parts
        return not is_released, self._is_source(path), len(path.parts), str(path)

    def _is_source(self, path: PurePosixPath) -> bool:
        return self.parent.coursedir.source_directory in path.parts


class NotebookCollector(FileNameCollectorPlugin):
    """Collect what `NotebookExtractor` has extracted."""

    def collect(self, submitted_file: str) -> dict[str, str]:
        file = Path(submitted_file)
        return {"student_id": file.parent.name, "file_id": file.name}


def _notebooks_in(place: Path | IO[bytes], depth: int = 0) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the path and content of each notebook in a folder or archive, and in archives in it.

    The paths are for comparison and messages: they may lead anywhere.
    """
    for name, open_file in _files_in(place):
        path = PurePosixPath(name.replace("\\", "/"))  # some programs on Windows write backslashes
        if _is_ignored(path):
            continue
        if looks_like_notebook(path.name):
            with open_file() as stream:
                content = stream.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise UnusableError(f"{path} has more than {MAX_BYTES // 10**6} MB")
            if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
                raise UnusableError(f"{path} has a name of more than {MAX_NAME_BYTES} bytes")
            yield path, content
        elif path.suffix.lower() in ARCHIVES and depth < MAX_DEPTH:
            # It may be damaged, or data, such as compressed weights.
            with contextlib.suppress(Exception), open_file() as stream:
                yield from [(path / inner, content) for inner, content in _notebooks_in(stream, depth + 1)]


def _files_in(place: Path | IO[bytes]) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    """Yield the name of each regular file in a folder or archive, and a function that opens it."""
    if isinstance(place, Path) and place.is_dir():
        for file in sorted(place.rglob("*")):
            if file.is_file() and not file.is_symlink():
                yield str(file.relative_to(place)), partial(_open_file, file)
    elif tarfile.is_tarfile(place):
        with tarfile.open(place) if isinstance(place, Path) else tarfile.open(fileobj=place) as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, partial(_open_member, tar, member)
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            for entry in archive.infolist():
                if entry.flag_bits & ENCRYPTED:
                    raise UnusableError("it is locked with a password")
                if not entry.is_dir():
                    yield entry.filename, partial(archive.open, entry)
    else:
        raise UnusableError("it is not a zip or tar archive, or only a part of one")


def _open_file(file: Path) -> IO[bytes]:
    return file.open("rb")


def _open_member(tar: tarfile.TarFile, file: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(file)
    assert stream, "not a regular file"
    return stream


def _is_ignored(path: PurePosixPath) -> bool:
    """Return whether a file is one that macOS, Jupyter and the like add, or in such a folder."""
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in path.parts)
