"""The time of submission, in a file beside the notebooks, whose content may come from the student.

nbgrader reads this file in `submitted/` whenever Formgrader lists the class, and fails for all if one is invalid.
"""

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

from nbgrader.utils import parse_utc

from grading.folders import remove

NAME, SET_ASIDE = "timestamp.txt", "timestamp.txt.invalid"
MAX_BYTES = 100
YEARS = range(1971, 2200)
"""Outside of these, converting a time to another time zone or to a database may fail."""
INVALID = f"{NAME} has no valid time and was ignored"
IN_THE_FUTURE = f"{NAME} has a time in the future"


def read(submission: Path) -> tuple[str | None, str]:
    """Return a submission's time, if it has a valid one, and a remark on it."""
    try:
        text = valid_text(submission / NAME)
    except ValueError:
        return None, INVALID
    if not text:
        return None, INVALID if os.path.lexists(submission / SET_ASIDE) else ""
    is_future = parse_utc(text) > datetime.now(UTC).replace(tzinfo=None)
    return text, IN_THE_FUTURE if is_future else ""


def set_aside(submission: Path) -> None:
    """Rename an invalid file in a submission, if that can be written to, so that it is read no more."""
    try:
        valid_text(submission / NAME)
    except ValueError:
        with contextlib.suppress(OSError):
            remove(submission / SET_ASIDE)
            (submission / NAME).rename(submission / SET_ASIDE)


def valid_text(file: Path) -> str:
    """Return a file's time as text, empty if there is none. Raises `ValueError` if it is not a time."""
    if not file.is_symlink() and not file.exists():
        return ""
    if file.is_symlink() or not file.is_file():
        raise ValueError("not a regular file")
    with open(file, "rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    text = content.decode().strip()
    try:
        if len(content) <= MAX_BYTES and (not text or (text.isprintable() and parse_utc(text).year in YEARS)):
            return text
    except Exception as error:  # dateutil raises many types, even arithmetic errors
        raise ValueError("not a time") from error
    raise ValueError("not a time of this century")
