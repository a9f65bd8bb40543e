"""The task of a worker: grade one submission in a folder of its own, and save the result.

The worker survives whatever the submission does: nbgrader runs in a separate process with a time limit.
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
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nbconvert.filters import strip_ansi
from nbgrader.api import Gradebook

from grading import autograde, folders, results, timestamps
from grading.course import (
    Contents,
    Course,
    copy_source,
    copy_submission,
    inspect_submission,
    looks_like_notebook,
    printable,
    remove_conflicts,
    renamed_copies,
)
from grading.errors import GradingError
from grading.kernels import fork_server_client, kernel_launcher, sandbox
from grading.kernels.limits import Limits
from grading.kernels.warm_start import RUNTIME, Settings
from grading.private_gradebook import url
from grading.restored_cells import REMARKS
from grading.results import NotebookResult, Result

# Threads of several kernels on the same cores would wait for one another.
NUMERICS = {"OMP_NUM_THREADS": "1"}
"""Environment variables that determine the last bits of floating-point results."""
STARTUP_SECONDS = 60
"""Time for nbgrader and a kernel to start, in addition to a notebook's own time limit."""
LOG_BYTES = 2**16
"""How much of what nbgrader and a student's kernels print is kept: the last part."""
SECONDS_TO_CLOSE = 10
"""How long the log is awaited after nbgrader's process has exited."""
MAX_TMPDIR_BYTES = 48
"""A socket's path may have 103 bytes (on macOS; 107 on Linux), and ours are some fifty longer than TMPDIR."""


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
    """Python statements to be executed before any notebook."""
    run: str
    """An id of the run of `make grade`: each run has fork servers of its own."""


def grade(task: Task) -> None:
    """Grade a submission and save the result, which another process enters into the gradebook."""
    if task.sandboxed and (reason := sandbox.why_unavailable()):
        raise GradingError(f"no sandbox is available on {socket.gethostname()}: {reason}")
    started = time.monotonic()
    with private_folder(task.course) as folder:
        place = folder / "submitted" / autograde.STUDENT / task.course.assignment
        submission = task.course.submission(task.student)
        contents = inspect_submission(submission, task.course.ignore)
        copy_submission(submission, place, contents)
        renamed = renamed_copies([path.name for path in place.iterdir()], task.notebooks)
        for copy, own in renamed.items():
            os.rename(place / copy, place / own)
        environment = make_course(task, folder, place)
        submitted = {path.stem for path in place.glob("*.ipynb") if path.is_file()}
        notes = notes_on(contents, task.notebooks, renamed)
        timestamp, remark = timestamps.read(submission)
        if remark:
            notes.append(remark)
        if not timestamp:
            folders.remove(place / timestamps.NAME)
        outcomes = run_nbgrader(task, folder, environment, [name for name in task.notebooks if name in submitted])
        result = Result(
            student=task.student,
            fingerprint=task.fingerprint,
            timestamp=timestamp,
            notebooks=read_scores(task, folder, outcomes),
            notes=notes + read_remarks(folder / REMARKS),
            seconds=time.monotonic() - started,
        )
        graded = folder / "autograded" / autograde.STUDENT / task.course.assignment
        results.save(task.course, result, graded, folder / "log")


def make_course(task: Task, folder: Path, place: Path) -> dict[str, str]:
    """Make `folder`, with a submission in `place`, a course for nbgrader; return the environment that it needs."""
    source = folder / autograde.SOURCE / task.course.assignment
    copy_source(task.course, source)
    remove_conflicts(source, place)
    shutil.copyfile(gradebook_template(task.course), folder / "gradebook.db")
    Settings(task.limits, task.sandboxed, task.preload, fork_server_socket(task)).write(folder)
    return kernel_launcher.install(folder)


def fork_server_socket(task: Task) -> str:
    """Return the socket of this worker's fork server; empty without a sandbox."""
    if not task.sandboxed:
        return ""
    environment = os.environ | NUMERICS
    return str(fork_server_client.get_fork_server(task.run, scratch(task.course), task.preload, environment).socket)


def gradebook_template(course: Course) -> Path:
    """Return the gradebook that every worker starts from."""
    return course.state / "gradebook.db"


@contextlib.contextmanager
def private_folder(course: Course) -> Iterator[Path]:
    """Create a folder that only our user can access, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(dir=scratch(course)))
    try:
        yield folder
    finally:
        folders.remove(folder)


def scratch(course: Course) -> Path:
    """Return the folder of a course's private folders. The next run removes what a killed process leaves there.

    It lies in the machine's folder for temporary files, or in /tmp if that one's path is too long: sockets need a
    short path and a local disk.
    """
    place = tempfile.gettempdir()
    ours = Path(place if len(os.fsencode(place)) <= MAX_TMPDIR_BYTES else "/tmp") / f"grading-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise GradingError(f"{ours} belongs to another user: have it removed, or set TMPDIR to another, short folder.")
    ours.chmod(0o700)
    folder = ours / hashlib.blake2b(str(course.state).encode(), digest_size=4).hexdigest()
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    return folder


def run_nbgrader(task: Task, folder: Path, environment: dict[str, str], notebooks: list[str]) -> dict[str, str]:
    """Have nbgrader grade the notebooks in `folder`; return the outcome of each.

    If nbgrader's process dies or times out, its current notebook is abandoned and it restarts with the next one.
    """
    outcomes: dict[str, str] = {}
    while remaining := [name for name in notebooks if name not in outcomes]:
        failure = run_autograde(task, folder, environment, remaining)
        outcomes |= read_outcomes(folder / autograde.OUTCOMES)
        if remaining[0] not in outcomes:
            outcomes[remaining[0]] = failure
        elif unfinished := [name for name in remaining if name not in outcomes]:
            outcomes[unfinished[0]] = failure
    return outcomes


def run_autograde(task: Task, folder: Path, environment: dict[str, str], notebooks: list[str]) -> str:
    """Run nbgrader's process until it exits; return how it exited, in case a notebook has no outcome."""
    command = [sys.executable, "-m", "grading.autograde", str(folder), task.course.assignment, *notebooks]
    runtime = folder / RUNTIME
    runtime.mkdir(exist_ok=True)
    environment = (
        os.environ
        | environment
        | NUMERICS
        | {
            # Import nothing from the current folder, and the workbook's packages from this one's.
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": sandbox.python_path(),
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "TMPDIR": str(runtime),
        }
    )
    seconds = len(notebooks) * (task.limits.seconds + STARTUP_SECONDS)
    process = subprocess.Popen(
        command,
        cwd=task.course.settings_folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # a file would be the student's to fill, or to empty
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    printed = LastPart(process.stdout)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"nbgrader timed out after {seconds:g} seconds"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with open(folder / "log", "a", encoding="utf-8") as log:
            log.write(printed.text())
    return f"{results.NOT_GRADED}nbgrader's process exited with code {code}"


class LastPart(threading.Thread):
    """Reads a pipe to its end, and keeps the last `LOG_BYTES`."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        assert pipe
        self.pipe, self.kept = pipe, bytearray()
        self.start()

    def run(self) -> None:
        with self.pipe:
            while chunk := os.read(self.pipe.fileno(), LOG_BYTES):
                self.kept += chunk
                del self.kept[:-LOG_BYTES]

    def text(self) -> str:
        """Return what is kept, without a terminal's escape sequences; processes that still print are not awaited."""
        self.join(SECONDS_TO_CLOSE)
        lines = strip_ansi(bytes(self.kept).decode(errors="replace")).splitlines()
        return "".join(f"{printable(line)}\n" for line in lines)


def read_outcomes(file: Path) -> dict[str, str]:
    """Read the outcomes that nbgrader's process has written; skip a line that it could not complete."""
    outcomes = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):
            name, outcome = json.loads(line)
            outcomes[name] = outcome
    return outcomes


def read_remarks(file: Path) -> list[str]:
    """Read the remarks on the notebooks' cells."""
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def read_scores(task: Task, folder: Path, outcomes: dict[str, str]) -> dict[str, NotebookResult]:
    """Read what nbgrader wrote to the private gradebook, by notebook."""
    graded = {name: NotebookResult(outcomes.get(name, "missing")) for name in task.notebooks}
    with Gradebook(url(folder / "gradebook.db"), task.course.course_id) as gradebook:
        for notebook in gradebook.student_submissions(autograde.STUDENT)[0].notebooks if has_scores(gradebook) else ():
            entry = graded[notebook.name]
            entry.scores = {grade.name: grade.auto_score for grade in notebook.grades}
            entry.needs_manual_grade = [grade.name for grade in notebook.grades if grade.needs_manual_grade]
            entry.comments = {comment.name: comment.auto_comment for comment in notebook.comments}
        gradebook.engine.dispose()
    return graded


def has_scores(gradebook: Gradebook) -> bool:
    """Return whether nbgrader got as far as creating an entry."""
    return any(student.id == autograde.STUDENT for student in gradebook.students)


def notes_on(contents: Contents, notebooks: tuple[str, ...], renamed: dict[str, str]) -> list[str]:
    """Return remarks on a submission's files for the instructor: which look like notebooks, and which were ignored."""
    expected = {Path(f"{name}.ipynb") for name in notebooks} | {Path(name) for name in renamed}
    others = sorted(path for path in contents.files if path not in expected and looks_like_notebook(path.name))
    return [
        *(f"{printable(copy)} was graded as {own}" for copy, own in renamed.items()),
        *(f"{printable(str(path))} {_why_not_graded(path)}" for path in others),
        *contents.remarks(),
    ]


def _why_not_graded(path: Path) -> str:
    if path.parent == Path() and path.suffix == ".ipynb":
        return "is not a notebook of the assignment"
    return "was not graded: a notebook must lie beside the others and end in .ipynb"
