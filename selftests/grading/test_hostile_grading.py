"""The bank of hostile submissions, graded in three classes beside honest students by `python -m grading`.

Each gets the result in the bank, other students are not affected, nothing outside changes, and nothing is left over.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
import pytest

from grading.worker import LOG_BYTES
from selftests.grading.hostile_bank import (
    ASSIGNMENT,
    CELL_SECONDS,
    CHECKER,
    CLASSES,
    INVALID_TIME,
    MARK,
    RIGHT,
    WRONG,
    Entry,
    World,
    make_notebook,
    title,
)
from selftests.grading.tiny_class import (
    SETTINGS,
    gradebook,
    limit_cells,
    nbgrader,
    needs_sandbox,
    remarks,
    start,
)

pytestmark = [needs_sandbox, pytest.mark.slow]

HONEST = {
    "ann": RIGHT,
    "bob": RIGHT | {"two": WRONG},
    "zoe": {"one": "raise ValueError", "two": "import time\ntime.sleep(3)\n" + RIGHT["two"]},
}
all_classes = pytest.mark.parametrize("graded", list(CLASSES), indirect=True)
CHANGED_BY_GRADING = ("autograded", "feedback", ".grading", "gradebook.db")

Snapshot = dict[str, str]
"""The contents of a folder: each path with its type, permissions and content."""


@dataclass(frozen=True)
class Class:
    """A graded class."""

    name: str
    course: Path
    output: str
    points: dict[tuple[str, str], float]
    """By student and notebook."""
    remarks: dict[str, str]
    course_before: Snapshot
    course_after: Snapshot
    home_before: Snapshot
    home_after: Snapshot
    scratch: list[str]
    """Files left in the folder for temporary files."""
    processes: list[str]
    """Processes left over."""
    called: bool
    """Whether the server got a connection."""


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder with a path short enough for sockets, removed by a program that can handle its contents."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="module")
def honest_course(base: Path) -> Path:
    """The course with the honest students only."""
    course = base / "honest"
    (course / "solutions" / ASSIGNMENT).mkdir(parents=True)
    (course / "nbgrader_config.py").write_text(SETTINGS)
    (course / "solutions" / ASSIGNMENT / "checker.py").write_text(CHECKER)
    for name, right in RIGHT.items():
        solution = make_notebook(name, f"### BEGIN SOLUTION\n{right}\n### END SOLUTION")
        nbformat.write(solution, course / "solutions" / ASSIGNMENT / f"{name}.ipynb")
    nbgrader(course, "generate_assignment", "--create")
    for student, answers in HONEST.items():
        place = course / "submitted" / student / ASSIGNMENT
        place.mkdir(parents=True)
        for name, answer in answers.items():
            nbformat.write(make_notebook(name, answer), place / f"{name}.ipynb")
    return course


@pytest.fixture(scope="module")
def graded(base: Path, honest_course: Path, request: pytest.FixtureRequest) -> Class:
    """The honest students and a class of the bank, graded by two workers, with snapshots before and after."""
    name = request.param
    course = shutil.copytree(honest_course, base / name / "a course")
    if name in CELL_SECONDS:
        limit_cells(course, CELL_SECONDS[name])
    home = make_home(base / name / "home")
    scratch = base / name / "tmp"
    scratch.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        for variable, value in {"HOME": home, "TMPDIR": scratch, "SECRET": "of the instructor"}.items():
            patch.setenv(variable, str(value))
        for entry in CLASSES[name]:
            entry.hand_in(World(course, home, server.getsockname()[1]))
        before = snapshot(course, CHANGED_BY_GRADING), snapshot(home)
        output = grade_all(course, CLASSES[name])
        server.setblocking(False)
        called = False
        with contextlib.suppress(BlockingIOError):
            server.accept()
            called = True
    return Class(
        name=name,
        course=course,
        output=output,
        points=points_by_notebook(course),
        remarks=remarks(course),
        course_before=before[0],
        course_after=snapshot(course, CHANGED_BY_GRADING),
        home_before=before[1],
        home_after=snapshot(home),
        scratch=sorted(snapshot(scratch)),
        processes=remaining_processes(course),
        called=called,
    )


def grade_all(course: Path, entries: list[Entry]) -> str:
    """Grade the class and return the output; the command must fail only if a student's name is invalid."""
    process = start(course, "--workers", "2")
    output, _ = process.communicate(timeout=1800)
    assert process.returncode == any(entry.one is None for entry in entries), output
    return output


def make_home(home: Path) -> Path:
    """Create a home folder with files to steal and to overwrite."""
    for name in (".bashrc", ".ssh/id_rsa", ".ipython/profile_default/startup/00.py", ".jupyter/migrated"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("# of the instructor\n")
    return home


def points_by_notebook(course: Path) -> dict[tuple[str, str], float]:
    with gradebook(course) as book:
        return {
            (submission.student.id, notebook.name): notebook.score
            for submission in book.assignment_submissions(ASSIGNMENT)
            for notebook in submission.notebooks
        }


def snapshot(folder: Path, except_for: tuple[str, ...] = ()) -> Snapshot:
    """Describe everything in a folder, however deep; `except_for` are names directly in it."""
    found = {}
    waiting = [str(folder / name) for name in os.listdir(folder) if name not in except_for]
    while waiting:
        path = waiting.pop()
        status = os.lstat(path)
        found[os.path.relpath(path, folder)] = f"{status.st_mode:o} {content_of(path, status.st_mode)}"
        if stat.S_ISDIR(status.st_mode):
            waiting += [f"{path}/{name}" for name in os.listdir(path)]
    return found


def content_of(path: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if not stat.S_ISREG(mode):
        return ""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remaining_processes(course: Path, seconds: float = 60) -> list[str]:
    """List the processes left by grading a course, after some seconds to exit."""
    deadline = time.monotonic() + seconds
    while (found := processes_of(course.parent)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def processes_of(base: Path) -> list[str]:
    """List the other processes with mounts, arguments or environment variables that refer to a folder."""
    found = []
    for process in psutil.process_iter():
        about = ""
        for name in ("mountinfo", "cmdline", "environ"):
            with contextlib.suppress(OSError):
                about += Path(f"/proc/{process.pid}/{name}").read_bytes().decode(errors="replace")
        if process.pid != os.getpid() and (f"{base}/" in about or MARK in about):
            found.append(f"{process.pid}: {about[-300:]}")
    return found


@pytest.mark.parametrize(
    ("graded", "entry"),
    [pytest.param(name, entry, id=title(entry)) for name, entries in CLASSES.items() for entry in entries],
    indirect=["graded"],
    scope="module",
)
def test_each_submission_gets_its_points_and_remark(graded: Class, entry: Entry):
    student = entry.shown_as or entry.name
    points, remark = (graded.points.get((student, "one")), graded.points.get((student, "two"))), graded.remarks[student]
    about = f"{entry.name}, which {entry.does}: {log_of(graded, entry)}"
    assert points == (entry.one, entry.two), about
    assert remark == entry.remark, about


def log_of(graded: Class, entry: Entry) -> str:
    """Return the end of nbgrader's log of a submission."""
    logs = list((graded.course / ".grading" / ASSIGNMENT / "results" / entry.name).glob("*/log.txt"))
    return logs[0].read_text(encoding="utf-8", errors="replace")[-3000:] if logs else "no log"


@all_classes
def test_honest_students_are_not_affected(graded: Class):
    scores = [graded.points[student, name] for student in HONEST for name in RIGHT]
    assert scores == [2, 2, 2, 0, 0, 2]
    assert {student: graded.remarks[student] for student in HONEST} == dict.fromkeys(HONEST, "")


@all_classes
def test_every_student_is_in_the_report(graded: Class):
    assert set(graded.remarks) == {*HONEST, *(entry.shown_as or entry.name for entry in CLASSES[graded.name])}


@all_classes
def test_nothing_outside_is_changed(graded: Class):
    changed = difference(graded.course_before, graded.course_after)
    assert {path for path in changed if "timestamp.txt" not in path} == set()
    invalid = {entry.name for entry in CLASSES[graded.name] if INVALID_TIME in entry.remark}
    assert {path.split("/")[1] for path in changed} == invalid  # set aside
    assert difference(graded.home_before, graded.home_after) == {}
    places = ["/", "/tmp", "/var/tmp", "/etc", "/usr", "/usr/lib", "/opt", sys.prefix, *sys.path]
    assert [place for place in places if os.path.exists(os.path.join(place, MARK))] == []


def difference(before: Snapshot, after: Snapshot) -> dict[str, tuple[str | None, str | None]]:
    """Return the paths that have changed."""
    paths = before.keys() | after.keys()
    return {path: (before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)}


@all_classes
def test_no_process_or_temporary_file_is_left(graded: Class):
    assert graded.processes == []
    assert [path for path in graded.scratch if path.count("/") > 1 or MARK in path] == []


@all_classes
def test_logs_are_short_and_printable(graded: Class):
    logs = list((graded.course / ".grading" / ASSIGNMENT / "results").glob("*/*/log.txt"))
    assert logs
    for log in logs:
        text = log.read_bytes().decode()
        assert len(text) < 10 * LOG_BYTES  # what is not printable is escaped, in a few characters
        assert all(line.isprintable() for line in text.split("\n"))


@all_classes
def test_no_submission_reaches_the_network(graded: Class):
    assert not graded.called


@all_classes
def test_each_submission_is_graded_once(graded: Class):
    """A submission that destroyed its result would be graded, and run into its limits, every time."""
    hostile = CLASSES[graded.name]
    entered = [entry for entry in hostile if entry.one is not None]
    output = grade_all(graded.course, hostile)
    expected = f"{len(hostile) + len(HONEST)} submissions: {len(entered) + len(HONEST)} graded already, 0 to grade."
    assert expected in output


@pytest.mark.slow
@pytest.mark.parametrize("graded", ["others"], indirect=True)
def test_feedback_can_be_written(graded: Class):
    """Every graded student gets pages, although nbgrader fails for notebooks that could not be run.

    It treats brackets in a student's name as a pattern, and writes no pages for these students.
    """
    command = [sys.executable, "-m", "nbgrader", "generate_feedback", ASSIGNMENT]
    result = subprocess.run(command, cwd=graded.course, capture_output=True, text=True)
    pages = {
        (entry.name, name)
        for entry in [*CLASSES[graded.name], *(Entry(student, "is honest", one=2) for student in HONEST)]
        for name, points in (("one", entry.one), ("two", entry.two))
        if points and "[" not in entry.name
    }
    feedback = graded.course / "feedback"
    missing = [page for page in pages if not (feedback / page[0] / ASSIGNMENT / f"{page[1]}.html").exists()]
    assert missing == [], result.stderr[-3000:]
    page = (feedback / "pages" / ASSIGNMENT / "one.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert('a text')" in page
    assert "<script>alert('a text')" not in page
