"""The bank of hostile submissions, graded as one class beside honest students by `python -m grading`.

Each gets what the bank says; nobody else notices; nothing outside changes, and nothing of it remains.
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

from selftests.hostile_bank import (
    ASSIGNMENT,
    BANK,
    CHECKER,
    MARK,
    RIGHT,
    SETTINGS,
    WRONG,
    Entry,
    World,
    make_notebook,
    title,
)
from selftests.test_class_grading import entries, grade, gradebook, nbgrader, needs_sandbox, remarks, start

pytestmark = needs_sandbox

HONEST = {
    "ann": RIGHT,
    "bob": RIGHT | {"two": WRONG},
    "zoe": {"one": "raise ValueError", "two": "import time\ntime.sleep(3)\n" + RIGHT["two"]},
}
CHANGED_BY_GRADING = ("autograded", "feedback", ".grading", "gradebook.db")

Snapshot = dict[str, str]
"""What lies under a folder: each path with its kind, rights and content."""


@dataclass(frozen=True)
class Class:
    """The class after it was graded."""

    course: Path
    printed: str
    points: dict[tuple[str, str], float]
    """By student and notebook."""
    remarks: dict[str, str]
    course_before: Snapshot
    course_after: Snapshot
    home_before: Snapshot
    home_after: Snapshot
    scratch: list[str]
    """What is left in the folder for temporary files."""
    processes: list[str]
    """What is left of processes."""
    called: bool
    """Whether anybody called the server."""


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder with a short name, for sockets have short ones, removed by a program that copes with what is in it."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="module")
def honest_course(base: Path) -> Path:
    """The course with nobody but the honest students."""
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
def graded(base: Path, honest_course: Path) -> Class:
    """The honest students and the whole bank, graded by two workers; what is around them, before and after."""
    course = shutil.copytree(honest_course, base / "a course")
    home = make_home(base / "home")
    scratch = base / "tmp"
    scratch.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {"HOME": home, "TMPDIR": scratch, "SECRET": "known to the instructor"}.items():
            patch.setenv(name, str(value))
        for entry in BANK:
            entry.hand_in(World(course, home, server.getsockname()[1]))
        before = snapshot(course, CHANGED_BY_GRADING), snapshot(home)
        printed = grade_all(course)
        server.setblocking(False)
        called = False
        with contextlib.suppress(BlockingIOError):
            server.accept()
            called = True
    return Class(
        course=course,
        printed=printed,
        points=points_by_notebook(course),
        remarks=remarks(course),
        course_before=before[0],
        course_after=snapshot(course, CHANGED_BY_GRADING),
        home_before=before[1],
        home_after=snapshot(home),
        scratch=sorted(path for path in snapshot(scratch) if not path.startswith("dask-scratch")),
        processes=remaining_processes(base),
        called=called,
    )


def grade_all(course: Path) -> str:
    """Grade the class, and return what was printed; some students' folders have names that cannot be entered."""
    process = start(course)
    printed, _ = process.communicate(timeout=1800)
    assert process.returncode == 1, printed
    return printed


def make_home(home: Path) -> Path:
    """A home with something to steal, and something to spoil."""
    for name in (".bashrc", ".ssh/id_rsa", ".ipython/profile_default/startup/00.py", ".jupyter/migrated"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("# known to the instructor\n")
    return home


def points_by_notebook(course: Path) -> dict[tuple[str, str], float]:
    with gradebook(course) as book:
        return {
            (submission.student.id, notebook.name): notebook.score
            for submission in book.assignment_submissions(ASSIGNMENT)
            for notebook in submission.notebooks
        }


def snapshot(folder: Path, except_for: tuple[str, ...] = ()) -> Snapshot:
    """What lies under a folder, however deep; `except_for` are names directly in it."""
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


def remaining_processes(base: Path, seconds: float = 5) -> list[str]:
    """Processes that were started by a run of grading under `base`; each gets some seconds to end."""
    until = time.monotonic() + seconds
    while (found := processes_of(base)) and time.monotonic() < until:
        time.sleep(0.2)
    return found


def processes_of(base: Path) -> list[str]:
    """Whatever has its mounts, arguments or environment from a folder under `base`, but for this process."""
    found = []
    for process in psutil.process_iter():
        about = ""
        for name in ("mountinfo", "cmdline", "environ"):
            with contextlib.suppress(OSError):
                about += Path(f"/proc/{process.pid}/{name}").read_bytes().decode(errors="replace")
        if process.pid != os.getpid() and (f"{base}/" in about or MARK in about):
            found.append(f"{process.pid}: {about[-300:]}")
    return found


@pytest.mark.parametrize("entry", BANK, ids=title)
def test_gets_what_it_deserves(graded: Class, entry: Entry):
    student = entry.shown_as or entry.name
    points, remark = (graded.points.get((student, "one")), graded.points.get((student, "two"))), graded.remarks[student]
    about = f"{entry.name}, which {entry.does}: {log_of(graded, entry)}"
    assert points == (entry.one, entry.two), about
    assert remark in (entry.remark, entry.remark_if_slow), about


def log_of(graded: Class, entry: Entry) -> str:
    """The end of what nbgrader said of a submission."""
    logs = list((graded.course / ".grading" / ASSIGNMENT / "results" / entry.name).glob("*/log.txt"))
    return logs[0].read_text(encoding="utf-8", errors="replace")[-3000:] if logs else "no log"


def test_the_others_are_graded_as_in_a_class_without_it(graded: Class, honest_course: Path):
    grade(honest_course)
    among_the_hostile = {key: value for key, value in entries(graded.course).items() if key[0] in HONEST}
    assert among_the_hostile == entries(honest_course)
    assert [among_the_hostile[student, name, "check"][0] for student in HONEST for name in RIGHT] == [2, 2, 2, 0, 0, 2]
    assert {student: graded.remarks[student] for student in HONEST} == dict.fromkeys(HONEST, "")


def test_everybody_is_in_the_report(graded: Class):
    assert set(graded.remarks) == {*HONEST, *(entry.shown_as or entry.name for entry in BANK)}


def test_nothing_outside_is_changed(graded: Class):
    assert difference(graded.course_before, graded.course_after) == {}
    assert difference(graded.home_before, graded.home_after) == {}
    places = ["/", "/tmp", "/var/tmp", "/etc", "/usr", "/usr/lib", "/opt", sys.prefix, *sys.path]
    assert [place for place in places if os.path.exists(os.path.join(place, MARK))] == []


def difference(before: Snapshot, after: Snapshot) -> dict[str, tuple[str | None, str | None]]:
    """The paths of which something was changed."""
    paths = before.keys() | after.keys()
    return {path: (before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)}


def test_nothing_of_it_remains(graded: Class):
    assert graded.processes == []
    assert [path for path in graded.scratch if path.count("/") > 1 or MARK in path] == []


def test_nobody_called_the_server(graded: Class):
    assert not graded.called


def test_is_graded_once(graded: Class):
    """A submission that spoils its result would be graded, and wait for its limits, every time."""
    submissions, entered = len(BANK) + len(HONEST), [entry for entry in BANK if entry.one is not None]
    printed = grade_all(graded.course)
    assert f"{submissions} submissions: {len(entered) + len(HONEST)} graded already, 0 to grade." in printed


def test_feedback_can_be_written(graded: Class):
    """Pages for everybody who was graded; nbgrader ends with an error where there is nothing to make one from.

    It takes brackets in a student's name for a pattern, and makes no pages for these students alone.
    """
    command = [sys.executable, "-m", "nbgrader", "generate_feedback", ASSIGNMENT]
    written = subprocess.run(command, cwd=graded.course, capture_output=True, text=True)
    pages = {
        (entry.name, name)
        for entry in [*BANK, *(Entry(student, "is honest", one=2) for student in HONEST)]
        for name, points in (("one", entry.one), ("two", entry.two))
        if points and "[" not in entry.name
    }
    feedback = graded.course / "feedback"
    missing = [page for page in pages if not (feedback / page[0] / ASSIGNMENT / f"{page[1]}.html").exists()]
    assert missing == [], written.stderr[-3000:]
    page = (feedback / "pages" / ASSIGNMENT / "one.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert('a text')" in page
    assert "<script>alert('a text')" not in page
