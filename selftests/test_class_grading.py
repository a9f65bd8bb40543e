"""`python -m grading`: a class graded in parallel gets what nbgrader gives it, whatever happens in between."""

import csv
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbgrader.api import Gradebook

from grading.classroom import Options, make_plan
from grading.course import look_at, read_course
from grading.folders import remove, size_of
from grading.kernels import sandbox
from grading.kernels.limits import Limits, watch

COURSE = "tiny"
WHY_NO_SANDBOX = sandbox.is_missing()
SETTINGS = """
import os, sysconfig
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", os.defpath)
c = get_config()
c.CourseDirectory.course_id = "tiny"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
c.Execute.timeout = 10
c.IPKernelApp.log_level = "ERROR"
"""

RIGHT, WRONG = "answer = 42", "answer = 41"

# Each of the notebooks `one` and `two` has a cell to be filled in and a check worth two points.
CLASS = {
    "ann": {"one": RIGHT, "two": RIGHT},
    "bob": {"one": RIGHT, "two": WRONG},
    "cem": {"two": RIGHT},
    "dee": {"one": "raise ValueError", "two": RIGHT},
}
POINTS = {"ann": 4, "bob": 2, "cem": 2, "dee": 2}


# A course of two trivial notebooks.


def make_cell(source: str, grade_id: str, **marks) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(source, id=grade_id)
    defaults = {"schema_version": 3, "grade": False, "locked": False, "solution": False, "task": False}
    cell.metadata.nbgrader = defaults | {"grade_id": grade_id} | marks
    return cell


def make_notebook(answer: str) -> nbformat.NotebookNode:
    check = make_cell("assert answer == 42", "check", grade=True, locked=True, points=2)
    notebook = nbformat.v4.new_notebook(cells=[make_cell(answer, "answer", solution=True), check])
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook


@pytest.fixture(scope="module")
def empty_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder with a gradebook that knows the assignment, and without submissions."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "nbgrader_config.py").write_text(SETTINGS)
    (folder / "solutions" / COURSE).mkdir(parents=True)
    for name in ("one", "two"):
        solution = make_notebook(f"### BEGIN SOLUTION\n{RIGHT}\n### END SOLUTION")
        nbformat.write(solution, folder / "solutions" / COURSE / f"{name}.ipynb")
    nbgrader(folder, "generate_assignment", "--create")
    return folder


@pytest.fixture
def course(empty_course: Path, tmp_path: Path) -> Path:
    """A copy of the course for one test."""
    folder = tmp_path / "a course"
    shutil.copytree(empty_course, folder)
    return folder


def hand_in(course: Path, student: str, answers: dict[str, str]) -> Path:
    """Put notebooks with these answers where nbgrader looks for submissions; return their folder."""
    place = course / "submitted" / student / COURSE
    place.mkdir(parents=True, exist_ok=True)
    for name, answer in answers.items():
        nbformat.write(make_notebook(answer), place / f"{name}.ipynb")
    return place


def hand_in_class(course: Path) -> None:
    for student, answers in CLASS.items():
        hand_in(course, student, answers)


def nbgrader(folder: Path, command: str, *options: str) -> None:
    arguments = [sys.executable, "-m", "nbgrader", command, COURSE, *options]
    subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=True)


def start(course: Path, *options: str) -> subprocess.Popen:
    """Begin to grade the class with two workers, in a sandbox where there is one."""
    if WHY_NO_SANDBOX:
        options = ("--without-sandbox", *options)
    arguments = [sys.executable, "-m", "grading", "--workers", "2", *options]
    return subprocess.Popen(arguments, cwd=course, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def grade(course: Path, *options: str, code: int = 0) -> str:
    """Grade the class; return what was printed."""
    process = start(course, *options)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == code, printed
    return printed


def gradebook(course: Path) -> Gradebook:
    return Gradebook(f"sqlite:///{course / 'gradebook.db'}", COURSE)


def points(course: Path) -> dict[str, float]:
    """Every student's points."""
    with gradebook(course) as book:
        return {submission.student.id: submission.score for submission in book.assignment_submissions(COURSE)}


def entries(course: Path) -> dict[tuple[str, str, str], tuple]:
    """Everything the course's gradebook has on graded cells, by student, notebook and cell."""
    with gradebook(course) as book:
        return entries_in(book)


def entries_in(book: Gradebook) -> dict[tuple[str, str, str], tuple]:
    """Everything a gradebook has on graded cells, by student, notebook and cell."""
    return {
        (submission.student.id, notebook.name, grade.name): (
            grade.auto_score,
            grade.manual_score,
            grade.max_score,
            grade.needs_manual_grade,
            [(comment.name, comment.auto_comment) for comment in notebook.comments],
            notebook.late_submission_penalty,
            submission.timestamp,
        )
        for submission in book.assignment_submissions(COURSE)
        for notebook in submission.notebooks
        for grade in notebook.grades
    }


def tree(folder: Path) -> dict[str, int]:
    """The files under a folder and their permissions."""
    return {str(path.relative_to(folder)): path.stat().st_mode for path in folder.rglob("*")}


def remarks(course: Path) -> dict[str, str]:
    """The remarks in the table that is written at the end."""
    with open(course / ".grading" / COURSE / "report.csv", encoding="utf-8", newline="") as stream:
        return {row["student"]: row["remarks"] for row in csv.DictReader(stream)}


def gradings(course: Path) -> dict[str, int]:
    """When each kept result was written: another grading would give another time."""
    results = (course / ".grading" / COURSE / "results").glob("*/*/result.json")
    return {path.parents[1].name: path.stat().st_mtime_ns for path in results}


# The same as by hand.


def test_grades_as_nbgrader_does_by_hand(course: Path, tmp_path: Path):
    hand_in_class(course)
    (course / "submitted" / "ann" / COURSE / "timestamp.txt").write_text("2026-01-02 03:04:05 UTC")
    (course / "submitted" / "ann" / COURSE / "data").mkdir()
    (course / "submitted" / "ann" / COURSE / "data" / "notes.txt").write_text("beside the notebooks")
    by_hand = shutil.copytree(course, tmp_path / "by hand")
    nbgrader(by_hand, "autograde")
    printed = grade(course)
    assert points(course) == POINTS
    assert entries(course) == entries(by_hand)
    assert tree(course / "autograded") == tree(by_hand / "autograded")
    assert [student for student in POINTS if f"{student}: {POINTS[student]} of 4 points" in printed] == list(POINTS)
    assert remarks(course) == {"ann": "", "bob": "", "cem": "one: missing", "dee": ""}
    nbgrader(course, "generate_feedback")
    assert (course / "feedback" / "bob" / COURSE / "two.html").exists()
    subprocess.run([sys.executable, "-m", "grading.class_report"], cwd=course, check=True)
    page = (course / ".grading" / COURSE / "report.html").read_text(encoding="utf-8")
    assert "4 students: 4 graded" in page and "cem" in page and "one: missing" in page
    assert f"../../feedback/bob/{COURSE}/two.html" in page


# Once is enough.


def test_grades_new_and_changed_submissions_only(course: Path):
    hand_in_class(course)
    grade(course)
    before = gradings(course)
    hand_in(course, "bob", {"two": RIGHT})
    hand_in(course, "eve", {"one": RIGHT, "two": WRONG})
    assert "5 submissions: 3 graded already, 2 to grade." in grade(course)
    after = gradings(course)
    assert {student for student in after if after[student] != before.get(student)} == {"bob", "eve"}
    assert points(course) == POINTS | {"bob": 4, "eve": 2}


def test_force_grades_again(course: Path):
    hand_in_class(course)
    grade(course)
    before = gradings(course)
    grade(course, "--force", "--student", "ann", "--student", "cem")
    after = gradings(course)
    assert {student for student in after if after[student] != before[student]} == {"ann", "cem"}
    assert points(course) == POINTS


def test_keeps_points_given_by_hand(course: Path):
    hand_in(course, "ann", {"one": WRONG, "two": WRONG})
    grade(course)
    with gradebook(course) as book:
        book.find_grade("check", "one", COURSE, "ann").manual_score = 1
        book.db.commit()
    assert "1 graded already" in grade(course)
    hand_in(course, "ann", {"two": RIGHT})
    grade(course)
    assert points(course) == {"ann": 3}
    with gradebook(course) as book:
        assert book.find_grade("check", "one", COURSE, "ann").needs_manual_grade


def test_a_removed_gradebook_is_filled_again(course: Path, empty_course: Path):
    hand_in(course, "ann", CLASS["ann"])
    grade(course)
    shutil.copy(empty_course / "gradebook.db", course)
    grade(course)
    assert points(course) == {"ann": 4}


# One run at a time; test_class_kills.py stops them at any moment.


def graders_of(process: subprocess.Popen) -> list[psutil.Process]:
    """The processes in which nbgrader grades."""
    children = psutil.Process(process.pid).children(recursive=True)
    # A process that has just ended has no command line any more.
    return [child for child in children if "grading.autograde" in (child.as_dict(["cmdline"])["cmdline"] or [])]


def wait_for(condition, seconds: float = 60):
    """What `condition` returns, once that is true."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.1)
    return value


def test_a_second_run_at_the_same_time_is_refused(course: Path):
    hand_in_class(course)
    process = start(course)
    wait_for(lambda: graders_of(process))
    assert "Another run is grading tiny" in grade(course, code=1)
    process.communicate(timeout=600)
    assert points(course) == POINTS


def test_workers_are_not_told_where_the_gradebook_is(course: Path, monkeypatch: pytest.MonkeyPatch):
    hand_in(course, "ann", CLASS["ann"])
    monkeypatch.chdir(course)
    the_course, settings = read_course()
    the_course.state.mkdir(parents=True)
    tasks = make_plan(the_course, settings, ["ann"], Options()).to_grade
    assert b"ann" in pickle.dumps(tasks)
    assert the_course.db_url.encode() not in pickle.dumps(tasks)


# Submissions that do harm, or are none. Each costs itself what it spoils, and nobody else anything.

SPY = """
import os, socket, pathlib
seen = []
for path in {forbidden!r}:
    try:
        seen += [path, os.listdir(path) if os.path.isdir(path) else open(path).read()]
    except OSError:
        pass
for path in {forbidden!r} + ["/usr/new", "/new", "/etc/new"]:
    try:
        open(path + ".new", "w")
        if not path.startswith("/tmp/"):  # where a folder of its own may lie, in memory; the test looks outside
            seen.append("wrote " + path)
    except OSError:
        pass
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=2)
    seen.append("network")
except OSError:
    pass
pathlib.Path("mine.txt").write_text("my own folder")
answer = 42 if not seen and os.environ.get("SECRET") is None else seen
"""
HARM = {
    "loop": "while True:\n    pass",
    "exit": "import os\nos._exit(0)",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "forks": "import os\nwhile True:\n    os.fork()",
    "recursion": "def again():\n    return again()\nagain()",
    "stays": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass",
}

# A CI machine must have one.
needs_sandbox = pytest.mark.skipif(
    bool(WHY_NO_SANDBOX) and "CI" not in os.environ, reason=f"SANDBOX NOT TRIED: {WHY_NO_SANDBOX}"
)


@needs_sandbox
def test_a_submission_sees_nothing_but_itself(course: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "known to the instructor")
    hand_in(course, "ann", CLASS["ann"])
    forbidden = [
        str(course / "gradebook.db"),
        str(course / "solutions"),
        str(course / "submitted" / "ann"),
        str(course / "autograded"),
        str(course / ".grading"),
        str(Path.home() / ".bashrc"),
        str(Path(__file__).parent / "answers"),
        str(Path(__file__).parents[1] / "solutions"),
        "/etc/shadow",
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        spy = SPY.format(forbidden=forbidden, port=server.getsockname()[1])
        hand_in(course, "Zoë the Spy [1]", {"one": spy, "two": spy})
        before = tree(course / "submitted")
        printed = grade(course)
    assert points(course) == {"ann": 4, "Zoë the Spy [1]": 4}, printed
    assert not any(Path(f"{path}.new").exists() for path in forbidden)
    assert tree(course / "submitted") == before


@needs_sandbox
def test_harm_costs_nobody_else(course: Path):
    hand_in(course, "ann", CLASS["ann"])
    for student, code in HARM.items():
        hand_in(course, student, {"one": code, "two": RIGHT})
    (hand_in(course, "no notebook", {"two": RIGHT}) / "one.ipynb").write_text("not JSON")
    (hand_in(course, "a link", {"two": RIGHT}) / "one.ipynb").symlink_to(course / "gradebook.db")
    (hand_in(course, "other name", {"two": RIGHT}) / "one (1).ipynb").write_text("{}")
    (course / "submitted" / "empty" / COURSE).mkdir(parents=True)
    before = tree(course / "submitted")
    printed = grade(course)
    half = [*HARM, "no notebook", "a link", "other name"]
    assert points(course) == {"ann": 4, "empty": 0} | dict.fromkeys(half, 2), printed
    assert remarks(course) == {
        "ann": "",
        "loop": "",
        "recursion": "",
        "exit": "one: the kernel died or was stopped while it ran",
        "killed": "one: the kernel died or was stopped while it ran",
        "forks": "one: stopped, for it had more than 64 processes",
        "stays": "one: a cell took too long and did not let itself be interrupted",
        "no notebook": "one: the file is not a notebook",
        "a link": "one: missing; one.ipynb is a link and was left out",
        "other name": "one: missing; one (1).ipynb is no notebook of the assignment",
        "empty": "one: missing; two: missing",
    }
    assert tree(course / "submitted") == before


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        ("x = b'x' * 300_000_000; input()", {"memory": 200 * 2**20}, "it took more than 0.195312 GB of memory"),
        (
            "import mmap; x = mmap.mmap(-1, 300_000_000); x.write(b'x' * 300_000_000); input()",
            {"memory": 200 * 2**20},
            "it took more than",
        ),
        (
            "import os; x = os.memfd_create('x'); os.posix_fallocate(x, 0, 300_000_000); input()",
            {"memory": 200 * 2**20},
            "it took more than",
        ),
        (  # what two processes share is there once
            "import os, time; x = b'x' * 150_000_000; os.fork() or time.sleep(2)",
            {"memory": 200 * 2**20},
            "",
        ),
        ("open('big', 'wb').write(b'x' * 2_000_000); input()", {"file_size": 2**20}, "it wrote more than"),
        (
            "import os; x = open('x', 'wb', 0); os.unlink('x'); x.write(b'x' * 2_000_000); input()",
            {"file_size": 2**20},
            "it wrote more than",
        ),
        ("input()", {"seconds": 1}, "it took longer than 1 seconds"),
        ("print()", {}, ""),
    ],
)
def test_limits(tmp_path: Path, code: str, limits: dict, reason: str):
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        # In nbgrader's place stands this process, which has run many tests before and may be large.
        kept = Limits(**{"seconds": 30, "nbgrader_memory": 2**40} | limits)
        found = watch(process.pid, os.getpid(), [tmp_path], kept, lambda: process.poll() is not None)
        process.kill()
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_folders_that_python_cannot_remove(tmp_path: Path):
    folder = place = tmp_path / "folder"
    for _ in range(1200):
        place = f"{place}/d"
        os.makedirs(place)
    Path(place, "file").write_bytes(b"x" * 2_000_000)
    Path(folder, "d").chmod(0)
    size_of([folder])  # which may have to give rights first
    assert size_of([folder]) > 2_000_000
    remove(folder)
    assert not folder.exists()


def test_what_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("one.ipynb", "secret\n"):
        (tmp_path / name).touch()
    # Nothing is hidden from root, who may run this.
    monkeypatch.setattr(os, "access", lambda path, mode: "secret" not in str(path))
    contents = look_at(tmp_path, ignore=())
    assert contents.files == [Path("one.ipynb")]
    assert contents.remarks() == ["secret\\n cannot be read and was left out"]


@needs_sandbox
def test_insists_on_a_sandbox(course: Path, monkeypatch: pytest.MonkeyPatch):
    hand_in(course, "ann", CLASS["ann"])
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert "bubblewrap is not installed" in grade(course, code=1)
    grade(course, "--without-sandbox")
    assert points(course) == {"ann": 4}


# Whoever asks for what is not there gets one sentence.


def test_says_what_is_missing(course: Path):
    assert grade(course, code=1).startswith("There is no submission like")
    hand_in(course, "ann", CLASS["ann"])
    assert grade(course, "--student", "zoe", code=1) == "There is no submission by zoe.\n"
    (course / "submitted" / "ann" / "other").mkdir()
    assert grade(course, "other", code=1).startswith("The gradebook has no assignment 'other': run `nbgrader")
    (course / "nbgrader_config.py").rename(course / "elsewhere.py")
    # nbgrader has said so too, in a line before.
    last_line = grade(course, code=1).splitlines()[-1]
    assert last_line.startswith(f"There is no nbgrader_config.py in {course} that names a course: ")
    (course / "elsewhere.py").rename(course / "nbgrader_config.py")
    assert "No scheduler answers at tcp://127.0.0.1:9" in grade(course, "--scheduler", "tcp://127.0.0.1:9", code=1)
