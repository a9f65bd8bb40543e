"""What a worker does: grade one submission in a folder of its own, and keep the result.

Whatever the submission does, the worker lives: nbgrader runs in a process of its own, with a time limit.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.utils import parse_utc

from grading import autograde, folders, results
from grading.course import Contents, Course, copy_source, copy_submission, look_at, make_way, printable
from grading.errors import GradingError
from grading.kernels import forks, kernel, sandbox
from grading.kernels.limits import Limits
from grading.kernels.warm_start import SOCKETS, Settings
from grading.private_gradebook import url
from grading.results import Graded, Result

# Several threads of several kernels on the same cores wait for one another.
ARITHMETIC = {"OMP_NUM_THREADS": "1"}
"""Environment variables on which the last bit of a sum depends."""
STARTING_SECONDS = 60
"""What nbgrader and a kernel may take to start, on top of a notebook's own time."""


@dataclass(frozen=True)
class Task:
    """A submission to be graded."""

    course: Course
    student: str
    fingerprint: str
    notebooks: tuple[str, ...]
    """The names of the assignment's notebooks."""
    limits: Limits
    """What one notebook may use."""
    sandboxed: bool
    preload: str
    """Python, to be run before any notebook."""
    run: str
    """A name for the run of `make grade`: what has been imported in one is not used in another."""


def grade(task: Task) -> None:
    """Grade a submission and keep the result, which another process enters."""
    if task.sandboxed and (reason := sandbox.is_missing()):
        raise GradingError(f"on {socket.gethostname()} there is no sandbox: {reason}")
    started = time.monotonic()
    with private_folder(task.course) as folder:
        place = folder / "submitted" / autograde.STUDENT / task.course.assignment
        submission = task.course.submission(task.student)
        contents = look_at(submission, task.course.ignore)
        copy_submission(submission, place, contents)
        source = folder / autograde.SOURCE / task.course.assignment
        copy_source(task.course, source)
        make_way(source, place)
        shutil.copyfile(template(task.course), folder / "gradebook.db")
        Settings(task.limits, task.sandboxed, task.preload, fork_server(task)).write(folder)
        environment = kernel.install(folder)
        handed_in = {path.stem for path in contents.files if path.parent == Path() and path.suffix == ".ipynb"}
        notes = notes_on(contents, handed_in - set(task.notebooks))
        try:
            timestamp = read_timestamp(place / "timestamp.txt")
        except ValueError:
            timestamp = None
            folders.remove(place / "timestamp.txt")
            notes.append("timestamp.txt says no time and was left out")
        outcomes = run_nbgrader(task, folder, environment, [name for name in task.notebooks if name in handed_in])
        result = Result(
            student=task.student,
            fingerprint=task.fingerprint,
            timestamp=timestamp,
            notebooks=read_scores(task, folder, outcomes),
            notes=notes,
            seconds=time.monotonic() - started,
        )
        graded = folder / "autograded" / autograde.STUDENT / task.course.assignment
        results.keep(task.course, result, graded, folder / "log")


def fork_server(task: Task) -> str:
    """The socket of this worker's fork server, where there can be one."""
    if not task.sandboxed:
        return ""
    return str(forks.fork_server_for(task.run, scratch(task.course), task.preload, os.environ | ARITHMETIC).socket)


def template(course: Course) -> Path:
    """The gradebook that every worker begins with."""
    return course.state / "gradebook.db"


@contextlib.contextmanager
def private_folder(course: Course) -> Iterator[Path]:
    """A folder that only we can read, removed afterwards.

    It lies in the machine's own folder for temporary files: sockets need a short path, and a local disk.
    """
    folder = Path(tempfile.mkdtemp(dir=scratch(course)))
    try:
        yield folder
    finally:
        folders.remove(folder)


def scratch(course: Course) -> Path:
    """The folder for the private folders of a course. What a killed process leaves there, the next run removes."""
    ours = Path(tempfile.gettempdir()) / f"grading-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise GradingError(f"{ours} belongs to somebody else: have it removed, or set TMPDIR to another folder.")
    folder = ours / hashlib.blake2b(str(course.state).encode(), digest_size=4).hexdigest()
    folder.mkdir(exist_ok=True)
    return folder


def run_nbgrader(task: Task, folder: Path, environment: dict[str, str], notebooks: list[str]) -> dict[str, str]:
    """Have nbgrader grade the notebooks in `folder`; return what became of each.

    Should nbgrader's process die or take too long, the notebook it was at is given up, and it starts again at the next.
    """
    outcomes: dict[str, str] = {}
    while remaining := [name for name in notebooks if name not in outcomes]:
        ending = run_once(task, folder, environment, remaining)
        outcomes |= read_outcomes(folder / autograde.OUTCOMES)
        if remaining[0] not in outcomes:
            outcomes[remaining[0]] = ending
        elif unfinished := [name for name in remaining if name not in outcomes]:
            outcomes[unfinished[0]] = ending
    return outcomes


def run_once(task: Task, folder: Path, environment: dict[str, str], notebooks: list[str]) -> str:
    """Run nbgrader's process to its end; return how it ended."""
    command = [sys.executable, "-m", "grading.autograde", str(folder), task.course.assignment, *notebooks]
    runtime = folder / SOCKETS
    runtime.mkdir(exist_ok=True)
    environment = (
        os.environ
        | environment
        | ARITHMETIC
        | {
            # Nothing is imported from a current folder.
            "PYTHONSAFEPATH": "1",
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "TMPDIR": str(runtime),
        }
    )
    seconds = len(notebooks) * (task.limits.seconds + STARTING_SECONDS)
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            command,
            cwd=task.course.settings_folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"nbgrader was stopped after {seconds} seconds"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return f"nbgrader's process ended with code {code}"


def read_outcomes(file: Path) -> dict[str, str]:
    """What nbgrader's process noted; a line that it had no time to finish is none."""
    outcomes = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):
            name, outcome = json.loads(line)
            outcomes[name] = outcome
    return outcomes


def read_scores(task: Task, folder: Path, outcomes: dict[str, str]) -> dict[str, Graded]:
    """What nbgrader wrote into the private gradebook, by notebook."""
    graded = {name: Graded(outcomes.get(name, "missing")) for name in task.notebooks}
    with Gradebook(url(folder / "gradebook.db"), task.course.course_id) as gradebook:
        for notebook in gradebook.student_submissions(autograde.STUDENT)[0].notebooks if has_scores(gradebook) else ():
            entry = graded[notebook.name]
            entry.scores = {grade.name: grade.auto_score for grade in notebook.grades}
            entry.by_hand = [grade.name for grade in notebook.grades if grade.needs_manual_grade]
            entry.comments = {comment.name: comment.auto_comment for comment in notebook.comments}
        gradebook.engine.dispose()
    return graded


def has_scores(gradebook: Gradebook) -> bool:
    """Whether nbgrader got as far as making an entry."""
    return any(student.id == autograde.STUDENT for student in gradebook.students)


def read_timestamp(file: Path) -> str | None:
    """When a submission was handed in, as nbgrader notes it, if it does. Raises `ValueError` where that is no time."""
    if not file.exists():
        return None
    try:
        text = file.read_text(encoding="utf-8").strip()
        if text:
            parse_utc(text)
    except Exception as error:  # dateutil's are many, from its own to those of arithmetic
        raise ValueError("no time") from error
    return text or None


def notes_on(contents: Contents, unknown: set[str]) -> list[str]:
    """What the instructor should know of a submission besides its scores."""
    notes = [f"{printable(name)}.ipynb is no notebook of the assignment" for name in sorted(unknown)]
    return notes + contents.remarks()
