"""What grading a submission gave, kept on disk until it is in the course's gradebook, and noted there after that.

A result lies in `<state>/results/<student>/<fingerprint>/`: `result.json`, nbgrader's log, the graded notebooks until
they move to autograded/, and an empty file `entered` once all of it is where it belongs. The folder appears whole or
not at all, under its final name only when everything is in it.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from grading.course import Course
from grading.folders import remove

RESULT = "result.json"
LOG = "log.txt"
NOTEBOOKS = "notebooks"
ENTERED = "entered"


@dataclass
class Graded:
    """What became of one notebook."""

    outcome: str = "graded"
    """`graded`, `missing`, or what kept nbgrader from grading it."""
    scores: dict[str, float | None] = field(default_factory=dict)
    """Automatic scores by the cell's grade id."""
    by_hand: list[str] = field(default_factory=list)
    """The cells that somebody must look at."""
    comments: dict[str, str | None] = field(default_factory=dict)
    """nbgrader's own comments, such as "No response.", by the cell's grade id."""


@dataclass
class Result:
    """What became of one submission."""

    student: str
    fingerprint: str
    timestamp: str | None
    """When it was handed in, if timestamp.txt says so."""
    notebooks: dict[str, Graded]
    notes: list[str]
    """What the instructor should know besides: links left out, notebooks with unknown names."""
    seconds: float

    def remarks(self) -> list[str]:
        """Whatever is out of the ordinary, one sentence each."""
        unusual = [f"{name}: {each.outcome}" for name, each in self.notebooks.items() if each.outcome != "graded"]
        return unusual + self.notes


def folder_of(course: Course, student: str, fingerprint: str) -> Path:
    """Where a submission's result is kept."""
    return course.state / "results" / student / fingerprint


def keep(course: Course, result: Result, notebooks: Path, log: Path) -> None:
    """Write a result, whole or not at all. If another worker was faster, its result stands."""
    target = folder_of(course, result.student, result.fingerprint)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=target.parent))
    unfinished.chmod(0o755)
    try:
        (unfinished / RESULT).write_text(json.dumps(dataclasses.asdict(result), indent=1), encoding="utf-8")
        if log.exists():
            shutil.copyfile(log, unfinished / LOG)
        if notebooks.exists():
            shutil.copytree(notebooks, unfinished / NOTEBOOKS, symlinks=True)
        else:
            (unfinished / NOTEBOOKS).mkdir()
        with contextlib.suppress(OSError):  # there is one already
            os.rename(unfinished, target)
        if not (target / RESULT).exists():
            raise OSError(f"the result could not be written to {target}")
    finally:
        remove(unfinished)


def read(course: Course, student: str, fingerprint: str) -> Result | None:
    """A kept result; None where there is none."""
    try:
        content = json.loads((folder_of(course, student, fingerprint) / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    notebooks = {name: Graded(**graded) for name, graded in content.pop("notebooks").items()}
    return Result(notebooks=notebooks, **content)


def forget(course: Course, student: str, except_for: str | None = None) -> None:
    """Remove a student's kept results, all or all but one."""
    folder = course.state / "results" / student
    for path in folder.iterdir() if folder.exists() else ():
        if path.name != except_for:
            remove(path)
