"""`python -m grading` with a gradebook in PostgreSQL and with the workers of a running scheduler.

The database server, the scheduler and the workers are real ones, started and stopped by fixtures.
"""

import contextlib
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

from selftests.grading import tiny_class as tiny
from selftests.grading.tiny_class import CLASS, POINTS, RIGHT, WRONG, GradedClass, grade, hand_in

pytestmark = pytest.mark.slow

MAX_SECONDS = 600
"""The time limit of any wait here, generous for a busy machine."""

DEBIAN_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian installs PostgreSQL's programs, which are not on the PATH."""


# A gradebook in PostgreSQL.


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """A database server that listens only at a socket in this folder."""
    programs = find_postgresql()
    # Only the user that runs pytest can enter its own folders.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = unprivileged_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    as_user = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    log = open(folder / "log", "wb")  # noqa: SIM115  open while the server runs
    options = {"cwd": folder, "stdout": log, "stderr": log} | as_user
    make = ["--pgdata=data", "--username=grader", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    server = None
    try:
        subprocess.run([programs / "initdb", *make], check=True, **options)
        run = ["-D", "data", "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen([programs / "postgres", *run], **options)
        tiny.wait_for(lambda: (folder / ".s.PGSQL.5432").exists() or server.poll() is not None, MAX_SECONDS)
        assert server.poll() is None, (folder / "log").read_text()
        yield str(folder)
    finally:
        if server:
            server.send_signal(signal.SIGQUIT)  # immediate shutdown, without waiting for clients
            server.wait(MAX_SECONDS)
        log.close()
        shutil.rmtree(folder)


def find_postgresql() -> Path:
    """Return the folder of PostgreSQL's programs; if there is none, skip the tests, or fail in CI."""
    places = [str(DEBIAN_FOLDERS[-1])] if DEBIAN_FOLDERS else []
    found = shutil.which("initdb", path=os.pathsep.join([*places, os.environ.get("PATH", os.defpath)]))
    if found is None:
        reason = "POSTGRESQL NOT TESTED: initdb not found; Debian has postgresql"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return Path(found).resolve().parent


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user to run the server if we are root, which it refuses; None for our own user."""
    if os.getuid() != 0:
        return None
    users = {user.pw_name: user for user in pwd.getpwall()}
    return users.get("postgres") or users["nobody"]


@pytest.fixture
def course_in_postgresql(empty_course: Path, tmp_path: Path, postgresql: str) -> tuple[Path, str]:
    """The tiny course with a database of its own, created by nbgrader, and its URL."""
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
    import psycopg  # imported here because tests without a server are skipped

    with psycopg.connect(host=server, user="grader", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")


def entries(url: str) -> dict[tuple[str, str, str], tuple]:
    """Read all grades in a gradebook, by student, notebook and cell."""
    with Gradebook(url, tiny.COURSE) as book:
        return tiny.entries_in(book)


def test_postgresql_gradebook_equals_that_in_sqlite_and_is_filled_once(
    graded_class: GradedClass, course_in_postgresql: tuple[Path, str]
):
    course, url = course_in_postgresql
    tiny.hand_in_class(course)
    grade(course)
    before, first = entries(url), tiny.result_times(course)
    assert {student for student, *_ in before} == set(POINTS)
    assert before == tiny.entries(graded_class.folder)
    assert tiny.remarks(course) == tiny.remarks(graded_class.folder)
    assert not (course / "gradebook.db").exists()

    assert "4 submissions: 4 graded already, 0 to grade." in grade(course)
    assert tiny.result_times(course) == first


def test_nbgraders_commands_work_on_the_postgresql_gradebook(course_in_postgresql: tuple[Path, str]):
    course, url = course_in_postgresql
    hand_in(course, "bob", CLASS["bob"])
    grade(course)
    before = entries(url)
    # It migrates old gradebooks; one of the current version must not change.
    subprocess.run([sys.executable, "-m", "nbgrader", "db", "upgrade"], cwd=course, capture_output=True, check=True)
    tiny.nbgrader(course, "autograde", "--force")
    assert entries(url) == before
    tiny.nbgrader(course, "generate_feedback")
    assert (course / "feedback" / "bob" / tiny.COURSE / "two.html").exists()


def test_a_name_too_long_for_postgresql_is_reported_and_others_are_graded(course_in_postgresql: tuple[Path, str]):
    course, url = course_in_postgresql
    longest, too_long = "x" * 128, "y" * 129  # SQLite accepts it
    for student in ("ann", longest, too_long, "zoe"):
        hand_in(course, student, CLASS["ann"])
    for _ in range(2):
        printed = grade(course, code=1)
        assert f"{too_long}: NOT GRADED (the gradebook rejected the result: " in printed
        assert f"Not graded, try again: {too_long}\n" in printed
        assert {student for student, *_ in entries(url)} == {"ann", longest, "zoe"}


# Workers of a running scheduler.


@dataclass
class Machine:
    """A dask worker with its own folders, as on a separate machine."""

    process: subprocess.Popen
    folder: Path

    def took_part(self) -> bool:
        """Return whether a submission was graded here."""
        return any(self.folder.glob("grading-*"))

    def graders(self) -> list[psutil.Process]:
        """List the processes in which nbgrader grades here."""
        return [process for process in process_tree(self.process) if is_grader(process)]

    def suspend_grader(self) -> psutil.Process:
        """Wait for a process in which nbgrader grades here, and stop it, so that it does not finish first."""

        def suspended() -> psutil.Process | None:
            for grader in self.graders():
                with contextlib.suppress(psutil.Error):  # it has just exited
                    grader.suspend()
                    return grader
            return None

        return tiny.wait_for(suspended, MAX_SECONDS)


@dataclass
class Cluster:
    """A scheduler and its workers."""

    folder: Path
    address: str
    scheduler: subprocess.Popen
    machines: list[Machine]

    def add_machine(self, **environment: str) -> None:
        # Sockets need a short path.
        place = self.folder / str(len(self.machines))
        place.mkdir()
        command = ["worker", self.address, "--nworkers", "1", "--nthreads", "1", "--local-directory", str(place)]
        self.machines.append(Machine(start_dask(place / "log", *command, TMPDIR=str(place), **environment), place))

    def stop(self) -> None:
        for process in [*(machine.process for machine in self.machines), self.scheduler]:
            process.terminate()
            process.wait(MAX_SECONDS)


@pytest.fixture
def scheduler() -> Iterator[Cluster]:
    """A scheduler without workers, started by the command in its documentation."""
    folder = Path(tempfile.mkdtemp(prefix="dask-"))
    file = folder / "scheduler.json"
    command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)]
    process = start_dask(folder / "log", *command)
    address = tiny.wait_for(lambda: read_address(file) or process.poll() is not None, MAX_SECONDS)
    assert address is not True, (folder / "log").read_text()
    cluster = Cluster(folder, address, process, [])
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


def read_address(file: Path) -> str:
    """Read a scheduler's address from its file; empty while the file is incomplete."""
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
        client.wait_for_workers(2, timeout=MAX_SECONDS)
    return scheduler


def start_dask(log: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """Run dask's own command."""
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    with open(log, "wb") as stream:
        return subprocess.Popen(command, env=os.environ | environment, stdout=stream, stderr=stream)


def test_a_schedulers_workers_grade_as_local_ones_do(course: Path, graded_class: GradedClass, cluster: Cluster):
    tiny.hand_in_class(course)
    grade(course, "--scheduler", cluster.address)
    assert tiny.entries(course) == tiny.entries(graded_class.folder)
    assert tiny.tree(course / "autograded") == tiny.tree(graded_class.folder / "autograded")
    assert [machine.took_part() for machine in cluster.machines] == [True, True]

    hand_in(course, "gus", CLASS["ann"])
    assert "5 submissions: 4 graded already, 1 to grade." in grade(course, "--scheduler", cluster.address)
    assert tiny.points(course) == POINTS | {"gus": 4}
    assert [machine.process.poll() for machine in cluster.machines] == [None, None]
    assert [machine.graders() for machine in cluster.machines] == [[], []]


def test_a_killed_worker_of_a_scheduler_loses_no_submission(course: Path, cluster: Cluster):
    """With all of its processes, as when its machine is switched off."""
    tiny.hand_in_class(course)
    process = tiny.start(course, "--scheduler", cluster.address)
    first = cluster.machines[0]
    first.suspend_grader()
    for victim in process_tree(first.process):
        victim.kill()
    printed, _ = process.communicate(timeout=MAX_SECONDS)
    assert process.returncode == 0, printed
    assert tiny.points(course) == POINTS
    assert "4 graded already" in grade(course, "--scheduler", cluster.address)


def process_tree(process: subprocess.Popen) -> list[psutil.Process]:
    """Return a process and its descendants, parents first, so that a killed one cannot restart another."""
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def is_grader(process: psutil.Process) -> bool:
    try:
        return "grading.autograde" in process.cmdline()
    except psutil.Error:  # it has just exited
        return False


def test_nothing_is_graded_where_the_scheduler_is_killed_before(course: Path, cluster: Cluster):
    tiny.hand_in_class(course)
    process = tiny.start(course, "--scheduler", cluster.address)
    grader = cluster.machines[0].suspend_grader()
    cluster.scheduler.kill()
    printed, _ = process.communicate(timeout=MAX_SECONDS)
    with contextlib.suppress(psutil.NoSuchProcess):
        grader.resume()
    # It was killed while the instructor's own answer was graded.
    assert printed.splitlines()[-1] == "No submission was graded: the connection to the scheduler was lost"
    assert process.returncode == 1 and "Traceback" not in printed


WAIT = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.1)\n"
"""An answer that waits for a file of the instructor's."""


def test_a_scheduler_killed_during_the_class_costs_no_score(course: Path, cluster: Cluster):
    tiny.hand_in_class(course)
    hand_in(course, "bob", {"one": WAIT + RIGHT, "two": WRONG})
    process = tiny.start(course, "--scheduler", cluster.address)
    tiny.wait_for(lambda: any(course.glob(".grading/*/results/*/*/entered")), MAX_SECONDS)
    cluster.scheduler.kill()
    printed, _ = process.communicate(timeout=MAX_SECONDS)
    assert process.returncode == 1 and "Traceback" not in printed
    entered = tiny.points(course)
    assert entered and entered == {student: POINTS[student] for student in entered}
    lost = CLASS.keys() - entered
    assert "bob" in lost
    for student in lost:
        assert f"{student}: NOT GRADED (the connection to the scheduler was lost)" in printed
    assert set(printed.splitlines()[-1].removeprefix("Not graded, try again: ").split(", ")) == lost

    times = {student: time for student, time in tiny.result_times(course).items() if student in entered}
    (course / "solutions" / tiny.COURSE / "go").touch()
    # A worker outlives its scheduler: what it has graded meanwhile is only to be entered.
    assert f"4 submissions: {len(entered)} graded already, " in grade(course)
    assert tiny.points(course) == POINTS
    assert times.items() <= tiny.result_times(course).items()


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
    assert " cannot sandbox students' code: bubblewrap is not installed" in line
    assert "Traceback" not in printed and not tiny.points(course)
