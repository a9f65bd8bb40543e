"""Results of grading submissions, saved on disk until and after they are entered into the course's gradebook.

A result is the folder `<state>/results/<student>/<fingerprint>/`: `result.json`, nbgrader's log, the graded notebooks
until they move to autograded/, and an empty file `entered` once all of it has been entered. The folder is written
atomically: it gets its final name when it is complete.
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
NOT_GRADED = "could not be graded: "
"""How the outcome of a notebook begins if the grader failed and not the submission: it is no score."""


@dataclass
class NotebookResult:
    """The result of grading one notebook."""

    outcome: str = "graded"
    """`graded`, `missing`, or why nbgrader could not grade it."""
    scores: dict[str, float | None] = field(default_factory=dict)
    """Automatic scores by the cell's grade id."""
    needs_manual_grade: list[str] = field(default_factory=list)
    """The grade ids of cells to be graded manually."""
    comments: dict[str, str | None] = field(default_factory=dict)
    """nbgrader's own comments, such as "No response.", by the cell's grade id."""
    remarks: list[str] = field(default_factory=list)
    """What is unusual about its cells."""

    @property
    def grader_failed(self) -> bool:
        """Whether it is to be graded again, and nothing to be entered."""
        return self.outcome.startswith(NOT_GRADED)


@dataclass
class Result:
    """The result of grading one submission."""

    student: str
    fingerprint: str
    timestamp: str | None
    """The time of submission, if timestamp.txt has one."""
    notebooks: dict[str, NotebookResult]
    notes: list[str]
    """Remarks on the files: ignored links, notebooks with unknown names."""
    seconds: float

    @property
    def grader_failed(self) -> bool:
        return any(each.grader_failed for each in self.notebooks.values())

    def remarks(self) -> list[str]:
        """Return everything unusual, one sentence each."""
        unusual = [f"{name}: {each.outcome}" for name, each in self.notebooks.items() if each.outcome != "graded"]
        return (
            unusual + self.notes + [f"{name}: {note}" for name, each in self.notebooks.items() for note in each.remarks]
        )


def result_folder(course: Course, student: str, fingerprint: str) -> Path:
    """Return the folder of a submission's result."""
    return course.state / "results" / student / fingerprint


def save(course: Course, result: Result, notebooks: Path, log: Path) -> None:
    """Save a result atomically. If another worker has saved one first, that one is retained."""
    target = result_folder(course, result.student, result.fingerprint)
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
        with contextlib.suppress(OSError):  # one exists already
            os.rename(unfinished, target)
        if not (target / RESULT).exists():
            raise OSError(f"the result could not be written to {target}")
    finally:
        remove(unfinished)


def load(course: Course, student: str, fingerprint: str) -> Result | None:
    """Load a saved result; None if there is none."""
    try:
        content = json.loads((result_folder(course, student, fingerprint) / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    notebooks = {name: NotebookResult(**graded) for name, graded in content.pop("notebooks").items()}
    return Result(notebooks=notebooks, **content)


def latest(course: Course, student: str) -> Result | None:
    """Load the result that was entered last; None if there is none."""
    for entered in (course.state / "results" / student).glob(f"*/{ENTERED}"):
        return load(course, student, entered.parent.name)
    return None


def is_unentered(course: Course, student: str, fingerprint: str) -> bool:
    """Return whether there is a saved result to enter, with its notebooks beside it or in autograded/ already."""
    folder = result_folder(course, student, fingerprint)
    if not (folder / RESULT).exists():
        return False
    moved = course.autograded(student).exists() and not (folder / ENTERED).exists()
    return (folder / NOTEBOOKS).exists() or moved


def delete(course: Course, student: str, except_for: str | None = None) -> None:
    """Delete a student's saved results, except for the one with that fingerprint."""
    folder = course.state / "results" / student
    for path in folder.iterdir() if folder.exists() else ():
        if path.name != except_for:
            remove(path)
