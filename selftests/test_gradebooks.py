"""`python -m grading` away from its usual place: a gradebook in PostgreSQL, workers started elsewhere, the real course.

The database server, the scheduler and the workers are real ones, started here and ended here.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from distributed import Client
from nbgrader.api import Gradebook

from grading.demo import demo_class as demo
from selftests import test_class_grading as tiny
from selftests.test_class_grading import CLASS, POINTS, RIGHT, WRONG, grade, hand_in
from selftests.test_grading import PASSED
from selftests.test_grading import POINTS as REAL_POINTS

MOST_SECONDS = 600
"""What anything may take here, on a machine that does much else."""

course, empty_course = tiny.course, tiny.empty_course

DEBIAN_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian keeps PostgreSQL's programs, which are not on the PATH."""


# A gradebook in PostgreSQL.


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The folder of the socket of a database server, which listens nowhere else."""
    programs = find_postgresql()
    # pytest's own folders can only be entered by whoever runs it.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = unprivileged_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    as_user = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    log = open(folder / "log", "wb")  # noqa: SIM115  for as long as the server runs
    options = {"cwd": folder, "stdout": log, "stderr": log} | as_user
    make = ["--pgdata=data", "--username=grader", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    server = None
    try:
        subprocess.run([programs / "initdb", *make], check=True, **options)
        run = ["-D", "data", "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen([programs / "postgres", *run], **options)
        tiny.wait_for(lambda: (folder / ".s.PGSQL.5432").exists() or server.poll() is not None, MOST_SECONDS)
        assert server.poll() is None, (folder / "log").read_text()
        yield str(folder)
    finally:
        if server:
            server.send_signal(signal.SIGQUIT)  # at once, without waiting for whoever is connected
            server.wait(60)
        log.close()
        shutil.rmtree(folder)


def find_postgresql() -> Path:
    """The folder of PostgreSQL's programs; without one the tests are skipped, and on a CI machine they fail."""
    places = [str(DEBIAN_FOLDERS[-1])] if DEBIAN_FOLDERS else []
    found = shutil.which("initdb", path=os.pathsep.join([*places, os.environ.get("PATH", os.defpath)]))
    if found is None:
        reason = "POSTGRESQL NOT TRIED: initdb not found; Debian has postgresql"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return Path(found).resolve().parent


def unprivileged_user() -> pwd.struct_passwd | None:
    """Whom the server runs as where we are root, which it refuses to run as; None where it can run as we do."""
    if os.getuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


@pytest.fixture
def course_in_postgresql(empty_course: Path, tmp_path: Path, postgresql: str) -> tuple[Path, str]:
    """The tiny course with a database of its own, made by nbgrader; and the URL of that."""
    name = f"grades_{time.monotonic_ns()}"
    create_database(postgresql, name)
    url = f"postgresql://grader@/{name}?host={postgresql}"
    folder = tmp_path / "in postgresql"
    shutil.copytree(empty_course, folder)
    (folder / "gradebook.db").unlink()
    with open(folder / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write(f"c.CourseDirectory.db_url = {url!r}\n")
    tiny.nbgrader(folder, "generate_assignment", "--create", "--force")
    return folder, url


def create_database(server: str, name: str) -> None:
    import psycopg  # the tests that need it are skipped where there is no server

    with psycopg.connect(host=server, user="grader", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")


def entries(url: str) -> dict[tuple[str, str, str], tuple]:
    """What a gradebook has on graded cells, by student, notebook and cell."""
    with Gradebook(url, tiny.COURSE) as book:
        return tiny.entries_in(book)


def in_sqlite(course: Path) -> str:
    """The URL of the gradebook where the settings name none."""
    return f"sqlite:///{course / 'gradebook.db'}"


def test_postgresql_has_what_sqlite_has(course: Path, course_in_postgresql: tuple[Path, str]):
    other_course, url = course_in_postgresql
    for folder in (course, other_course):
        tiny.hand_in_class(folder)
        (folder / "submitted" / "ann" / tiny.COURSE / "timestamp.txt").write_text("2026-01-02 03:04:05 UTC")
        grade(folder)
    assert {student for student, *_ in entries(url)} == set(POINTS)
    assert entries(url) == entries(in_sqlite(course))
    assert tiny.remarks(other_course) == tiny.remarks(course)
    assert not (other_course / "gradebook.db").exists()


def test_postgresql_grades_once_unless_forced(course_in_postgresql: tuple[Path, str]):
    course, url = course_in_postgresql
    tiny.hand_in_class(course)
    grade(course)
    before, first = entries(url), tiny.gradings(course)
    assert "4 submissions: 4 graded already, 0 to grade." in grade(course)
    assert tiny.gradings(course) == first
    assert "4 submissions: 0 graded already, 4 to grade." in grade(course, "--force")
    assert {student for student, when in tiny.gradings(course).items() if when != first[student]} == set(CLASS)
    assert entries(url) == before


def test_nbgraders_own_commands_go_on_in_postgresql(course_in_postgresql: tuple[Path, str]):
    course, url = course_in_postgresql
    hand_in(course, "bob", CLASS["bob"])
    grade(course)
    before = entries(url)
    # Which migrates old gradebooks, and does nothing to one of this version.
    subprocess.run([sys.executable, "-m", "nbgrader", "db", "upgrade"], cwd=course, capture_output=True, check=True)
    tiny.nbgrader(course, "autograde", "--force")
    assert entries(url) == before
    tiny.nbgrader(course, "generate_feedback")
    assert (course / "feedback" / "bob" / tiny.COURSE / "two.html").exists()


def test_a_name_too_long_for_postgresql_costs_nobody_else(course_in_postgresql: tuple[Path, str]):
    course, url = course_in_postgresql
    longest, too_long = "x" * 128, "y" * 129  # SQLite does not mind
    for student in ("ann", longest, too_long, "zoe"):
        hand_in(course, student, CLASS["ann"])
    for _ in range(2):
        printed = grade(course, code=1)
        assert f"{too_long}: NOT GRADED (the gradebook does not take the result: " in printed
        assert f"Not graded, try again: {too_long}\n" in printed
        assert {student for student, *_ in entries(url)} == {"ann", longest, "zoe"}


@pytest.mark.parametrize("where", ["", "c.CourseDirectory.db_url = 'postgresql://grader:secret@/no?host=/nowhere'"])
def test_a_gradebook_that_cannot_be_opened_is_named(course: Path, where: str):
    hand_in(course, "ann", CLASS["ann"])
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write(where)
    if not where:
        (course / "gradebook.db").write_text("no database")
    printed = grade(course, code=1)
    assert printed.startswith("The gradebook ") and "cannot be opened: " in printed
    assert len(printed.splitlines()) == 1 and "secret" not in printed


# Workers that somebody else started.


@dataclass
class Machine:
    """A worker of dask, with its own folders as if on a machine of its own."""

    process: subprocess.Popen
    folder: Path

    def took_part(self) -> bool:
        """Whether a submission was graded here."""
        return any(self.folder.glob("grading-*"))

    def graders(self) -> list[psutil.Process]:
        """The processes in which nbgrader grades here."""
        return [process for process in family(self.process) if is_grader(process)]

    def wait_for_grader(self) -> psutil.Process:
        return tiny.wait_for(self.graders, MOST_SECONDS)[0]


@dataclass
class Cluster:
    """A scheduler and its workers."""

    folder: Path
    address: str
    scheduler: subprocess.Popen
    machines: list[Machine]

    def add_machine(self, **environment: str) -> None:
        # A short path, for sockets lie in it.
        place = self.folder / str(len(self.machines))
        place.mkdir()
        command = ["worker", self.address, "--nworkers", "1", "--nthreads", "1", "--local-directory", str(place)]
        self.machines.append(Machine(start_dask(place / "log", *command, TMPDIR=str(place), **environment), place))

    def end(self) -> None:
        for process in [*(machine.process for machine in self.machines), self.scheduler]:
            process.terminate()
            process.wait(60)


@pytest.fixture
def scheduler() -> Iterator[Cluster]:
    """A scheduler without workers, started from a shell as its documentation tells."""
    folder = Path(tempfile.mkdtemp(prefix="dask-"))
    file = folder / "scheduler.json"
    command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)]
    process = start_dask(folder / "log", *command)
    address = tiny.wait_for(lambda: read_address(file) or process.poll() is not None, MOST_SECONDS)
    assert address is not True, (folder / "log").read_text()
    cluster = Cluster(folder, address, process, [])
    try:
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder)


def read_address(file: Path) -> str:
    """What a scheduler has written of itself; nothing where that is not whole yet."""
    try:
        return json.loads(file.read_text())["address"]
    except (FileNotFoundError, ValueError):
        return ""


@pytest.fixture
def cluster(scheduler: Cluster) -> Cluster:
    """A scheduler and two workers."""
    for _ in range(2):
        scheduler.add_machine()
    with Client(scheduler.address) as client:
        client.wait_for_workers(2, timeout=MOST_SECONDS)
    return scheduler


def start_dask(log: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """Run dask's own command."""
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    with open(log, "wb") as stream:
        return subprocess.Popen(command, env=os.environ | environment, stdout=stream, stderr=stream)


def test_workers_of_a_scheduler_grade_as_our_own_do(course: Path, tmp_path: Path, cluster: Cluster):
    tiny.hand_in_class(course)
    for student in ("eve", "flo"):
        hand_in(course, student, {"one": RIGHT, "two": WRONG})
    by_our_own = shutil.copytree(course, tmp_path / "by our own")
    grade(by_our_own)
    grade(course, "--scheduler", cluster.address)
    assert entries(in_sqlite(course)) == entries(in_sqlite(by_our_own))
    assert tiny.tree(course / "autograded") == tiny.tree(by_our_own / "autograded")
    assert [machine.took_part() for machine in cluster.machines] == [True, True]

    hand_in(course, "gus", CLASS["ann"])
    assert "7 submissions: 6 graded already, 1 to grade." in grade(course, "--scheduler", cluster.address)
    assert tiny.points(course) == POINTS | {"eve": 2, "flo": 2, "gus": 4}
    assert [machine.process.poll() for machine in cluster.machines] == [None, None]
    assert [machine.graders() for machine in cluster.machines] == [[], []]


@pytest.mark.parametrize("all_of_it", [False, True], ids=["worker", "machine"])
def test_a_killed_worker_of_a_scheduler_costs_nobody_a_grade(course: Path, cluster: Cluster, all_of_it: bool):
    tiny.hand_in_class(course)
    process = tiny.start(course, "--scheduler", cluster.address)
    first = cluster.machines[0]
    grader = first.wait_for_grader()
    for victim in family(first.process) if all_of_it else [grader.parent()]:
        victim.kill()
    printed, _ = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, printed
    assert tiny.points(course) == POINTS
    assert "4 graded already" in grade(course, "--scheduler", cluster.address)


def family(process: subprocess.Popen) -> list[psutil.Process]:
    """A process and its descendants, the eldest first: none of them can start another when it is gone."""
    eldest = psutil.Process(process.pid)
    return [eldest, *eldest.children(recursive=True)]


def is_grader(process: psutil.Process) -> bool:
    try:
        return "grading.autograde" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


def test_a_killed_scheduler_can_be_done_without(course: Path, cluster: Cluster):
    tiny.hand_in_class(course)
    process = tiny.start(course, "--scheduler", cluster.address)
    cluster.machines[0].wait_for_grader()
    cluster.scheduler.kill()
    printed, _ = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 1 and "Not graded, try again: " in printed and "Traceback" not in printed, printed
    grade(course)
    assert tiny.points(course) == POINTS


@pytest.mark.parametrize("address", ["nonsense", "tcp://no.such.host:9"])
def test_a_scheduler_that_does_not_answer_is_named(course: Path, address: str):
    hand_in(course, "ann", CLASS["ann"])
    printed = grade(course, "--scheduler", address, code=1)
    assert printed.splitlines()[-1].startswith(f"No scheduler answers at {address}: ")
    assert "Traceback" not in printed


def test_a_scheduler_without_workers_is_named(course: Path, scheduler: Cluster):
    hand_in(course, "ann", CLASS["ann"])
    printed = grade(course, "--scheduler", scheduler.address, code=1)
    assert printed.splitlines()[-1].startswith(f"The scheduler at {scheduler.address} has no workers")


@tiny.needs_sandbox
def test_a_worker_without_a_sandbox_is_named(course: Path, scheduler: Cluster):
    hand_in(course, "ann", CLASS["ann"])
    scheduler.add_machine(PATH=str(scheduler.folder))  # with no program in it
    printed = grade(course, "--scheduler", scheduler.address, code=1)
    (line,) = (line for line in printed.splitlines() if line.startswith("The worker at tcp://127.0.0.1:"))
    assert " cannot keep students' code in a sandbox: bubblewrap is not installed" in line
    assert "Traceback" not in printed and not tiny.points(course)


# The real course.


def test_grades_the_demos_class_as_nbgrader_does(tmp_path: Path):
    """Cell by cell the points of test_grading.py, where nbgrader's own command has to give the same four the same."""
    folder = tmp_path / "class"
    demo.make_course(folder)
    for student in demo.CLASS:
        demo.hand_in(student, folder)
    # In the repository, where the course's settings lie.
    subprocess.run([sys.executable, *demo.grading_arguments(folder)], cwd=demo.REPOSITORY, check=True)
    points = {student: demo.read_points(folder, student) for student in demo.CLASS}
    assert points == {
        student: {
            notebook: {cell: (most if cell in PASSED[student] else 0, most) for cell, most in cells.items()}
            for notebook, cells in REAL_POINTS.items()
        }
        for student in demo.CLASS
    }
    assert demo.report_unexpected(points) == 0
