"""The task of a worker: grade one submission in a folder of its own, and save the result.

A worker is a thread of `python -m grading`, or a worker of a dask scheduler. It survives whatever the submission does:
nbgrader runs in a separate process with a time limit.
"""

import contextlib
import dataclasses
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

from grading import autograde, folders, results
from grading.course import Course, printable
from grading.errors import GradingError
from grading.kernels import sandbox
from grading.kernels.limits import Limits
from grading.kernels.warm_kernels import RUNTIME
from grading.results import NotebookResult, Result
from grading.submissions import (
    TIMESTAMP,
    Contents,
    copy_source,
    copy_submission,
    inspect_submission,
    looks_like_notebook,
    read_timestamp,
    remove_conflicts,
    renamed_copies,
)

# Threads of several kernels on the same cores would wait for one another.
NUMERICS = {"OMP_NUM_THREADS": "1"}
"""Environment variables that determine the last bits of floating-point results."""
STARTUP_SECONDS = 60
"""Time for nbgrader and a kernel to start, in addition to a notebook's own time limit."""
LOG_BYTES = 2**16
"""How much of what nbgrader and a student's kernels print is kept: the last part."""
REPORT_BYTES = 2**24
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
    """The name of a module to be imported before any notebook."""


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
        make_course(task, folder, place)
        submitted = {path.stem for path in place.glob("*.ipynb") if path.is_file()}
        notes = notes_on(contents, task.notebooks, renamed)
        timestamp, remark = read_timestamp(submission)
        if remark:
            notes.append(remark)
        if not timestamp:
            folders.remove(place / TIMESTAMP)
        graded = run_nbgrader(task, folder, [name for name in task.notebooks if name in submitted])
        result = Result(
            student=task.student,
            fingerprint=task.fingerprint,
            timestamp=timestamp,
            notebooks={name: graded.get(name, NotebookResult("missing")) for name in task.notebooks},
            notes=notes,
            seconds=time.monotonic() - started,
        )
        notebooks = folder / "autograded" / autograde.STUDENT / task.course.assignment
        results.save(task.course, result, notebooks, folder / "log")


def make_course(task: Task, folder: Path, place: Path) -> None:
    """Make `folder`, with a submission in `place`, a course for nbgrader."""
    source = folder / autograde.SOURCE / task.course.assignment
    copy_source(task.course, source)
    remove_conflicts(source, place)
    shutil.copyfile(gradebook_template(task.course), folder / "gradebook.db")


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


def run_nbgrader(task: Task, folder: Path, notebooks: list[str]) -> dict[str, NotebookResult]:
    """Have nbgrader grade the notebooks in `folder`; return the result of each.

    If nbgrader's process dies or times out, its current notebook is abandoned and it restarts with the next one.
    """
    graded: dict[str, NotebookResult] = {}
    while remaining := [name for name in notebooks if name not in graded]:
        found, failure = run_autograde(task, folder, remaining)
        graded |= found
        if unfinished := [name for name in remaining if name not in graded]:
            graded[unfinished[0]] = NotebookResult(failure)
    return graded


def run_autograde(task: Task, folder: Path, notebooks: list[str]) -> tuple[dict[str, NotebookResult], str]:
    """Run nbgrader's process until it exits; return its results, and how it exited, in case there is one missing."""
    arguments = {
        "folder": str(folder),
        "assignment": task.course.assignment,
        "notebooks": notebooks,
        "limits": dataclasses.asdict(task.limits),
        "sandboxed": task.sandboxed,
        "preload": task.preload,
    }
    runtime = folder / RUNTIME
    runtime.mkdir(exist_ok=True)
    environment = (
        os.environ
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
        [sys.executable, "-m", "grading.autograde", json.dumps(arguments)],
        cwd=task.course.settings_folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # a file would be the student's to fill, or to empty
        start_new_session=True,
    )
    reports, log = LastPart(process.stdout, REPORT_BYTES), LastPart(process.stderr, LOG_BYTES)
    failure = f"{results.NOT_GRADED}nbgrader's process exited"
    try:
        failure += f" with code {process.wait(seconds)}"
    except subprocess.TimeoutExpired:
        failure = f"nbgrader timed out after {seconds:g} seconds"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with open(folder / "log", "a", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in log.lines())
    return read_reports(reports.lines()), failure


class LastPart(threading.Thread):
    """Reads a pipe to its end, and keeps so many of the last bytes."""

    def __init__(self, pipe: IO[bytes] | None, size: int) -> None:
        super().__init__(daemon=True)
        assert pipe
        self.pipe, self.size, self.kept = pipe, size, bytearray()
        self.start()

    def run(self) -> None:
        with self.pipe:
            while chunk := os.read(self.pipe.fileno(), LOG_BYTES):
                self.kept += chunk
                del self.kept[: -self.size]

    def lines(self) -> list[str]:
        """Return what is kept, without a terminal's escape sequences; processes that still print are not awaited."""
        self.join(SECONDS_TO_CLOSE)
        return [printable(line) for line in strip_ansi(bytes(self.kept).decode(errors="replace")).splitlines()]


def read_reports(lines: list[str]) -> dict[str, NotebookResult]:
    """Read what nbgrader's process has printed about notebooks; skip a line that it could not complete."""
    found = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            name, result = json.loads(line)
            found[name] = NotebookResult(**result)
    return found


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
