"""`python -m grading` is killed at any moment, and the same command finishes the class: nobody twice, no score lost.

Each seed is a moment and a victim: every other seed kills a worker, and the rest the command, alone or with its whole
process group. Six seeds run by default; `KILLS=20 pytest selftests/test_class_kills.py` runs twenty.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from selftests import test_class_grading as tiny
from selftests.test_class_grading import CLASS, POINTS, WHY_NO_SANDBOX

course, empty_course = tiny.course, tiny.empty_course

SEEDS = range(int(os.environ.get("KILLS", "6")))
MOST_SECONDS = 600
"""What anything may take here, on a machine that does much else."""
SECONDS_TO_END = 60
MARK = "GRADING_KILLED"
"""A variable in the environment of everything that a run starts, by which it is found when its parents are gone."""


@dataclass
class Undisturbed:
    """A class that was graded without a kill, and the seconds that took."""

    entries: dict
    autograded: dict[str, int]
    seconds: float


@dataclass
class Run:
    """`python -m grading`, in a process group of its own."""

    process: subprocess.Popen
    mark: str

    def kill_command(self) -> None:
        """End the command, and nothing else, as the operating system does when memory runs out."""
        self.process.kill()

    def kill_group(self) -> None:
        """End all that a terminal would end."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def kill_worker(self, choice: random.Random) -> None:
        """End one of the workers that are grading, as soon as there is one."""
        workers = tiny.wait_for(lambda: self.workers() or self.process.poll() is not None, MOST_SECONDS)
        if workers is not True:
            with contextlib.suppress(ProcessLookupError):
                os.kill(choice.choice(workers), signal.SIGKILL)

    def workers(self) -> list[int]:
        """The workers that are grading, by their process ids."""
        return [each.ppid for each in marked_processes(self.mark) if "grading.autograde" in each.command]


@dataclass
class Marked:
    """A process that a run has started."""

    command: str
    ppid: int


def marked_processes(mark: str) -> list[Marked]:
    """What there is of a run, whoever its parents are."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(Marked(" ".join(process.cmdline()), process.ppid()))
        except psutil.Error:  # it has ended, or is somebody else's
            continue
    return found


@pytest.fixture(scope="module")
def undisturbed(empty_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed") / "a course"
    shutil.copytree(empty_course, folder)
    tiny.hand_in_class(folder)
    started = time.monotonic()
    tiny.grade(folder)
    seconds = time.monotonic() - started
    return Undisturbed(tiny.entries(folder), tiny.tree(folder / "autograded"), seconds)


@contextlib.contextmanager
def running(course: Path) -> Iterator[Run]:
    """Begin to grade the class with two workers, in a sandbox where there is one; end it with the block."""
    mark = uuid.uuid4().hex
    options = ["--without-sandbox"] if WHY_NO_SANDBOX else []
    process = subprocess.Popen(
        [sys.executable, "-m", "grading", "--workers", "2", *options],
        cwd=course,
        env=os.environ | {MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield Run(process, mark)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for_moment(course: Path, run: Run, choice: random.Random, seconds: float) -> None:
    """Let some results come in, then some more time pass; `seconds` are those of a whole run."""
    results = choice.randrange(len(CLASS) - 1)
    tiny.wait_for(lambda: len(tiny.gradings(course)) >= results or run.process.poll() is not None, MOST_SECONDS)
    # Before the first result, a run spends about half of its time.
    time.sleep(choice.uniform(0, seconds / (2 if results == 0 else len(CLASS))))


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed % 2 == 0])
def test_goes_on_after_it_was_killed(course: Path, undisturbed: Undisturbed, seed: int):
    tiny.hand_in_class(course)
    with running(course) as run:
        wait_for_moment(course, run, random.Random(seed), undisturbed.seconds)
        run.kill_group() if seed % 4 else run.kill_command()
        run.process.communicate()
    assert_nothing_runs(run)
    before, entered = tiny.gradings(course), tiny.entries(course)

    printed = tiny.grade(course)
    done, to_grade = map(int, re.search(r"(\d+) graded already, (\d+) to grade", printed).groups())
    assert to_grade == len(CLASS) - len(before) and done <= len(before), "somebody was graded twice"
    after = tiny.gradings(course)
    assert {student: after[student] for student in before} == before, "somebody was graded twice"
    assert_graded(course, undisturbed)
    finished = {key: value for key, value in entered.items() if value[0] is not None}
    assert {key: tiny.entries(course)[key] for key in finished} == finished


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed % 2 == 1])
def test_a_killed_worker_costs_nobody_a_grade(course: Path, undisturbed: Undisturbed, seed: int):
    tiny.hand_in_class(course)
    choice = random.Random(seed)
    with running(course) as run:
        wait_for_moment(course, run, choice, undisturbed.seconds)
        before = tiny.gradings(course)
        run.kill_worker(choice)
        printed, _ = run.process.communicate(timeout=MOST_SECONDS)
    assert run.process.returncode == 0, printed
    assert [student for student in CLASS if printed.count(f"{student}: ") != 1] == [], "one line on everybody"
    after = tiny.gradings(course)
    assert {student: after[student] for student in before} == before, "somebody was graded twice"
    assert_graded(course, undisturbed)
    assert_nothing_runs(run)
    assert f"{len(CLASS)} graded already, 0 to grade" in tiny.grade(course)
    assert tiny.gradings(course) == after


def assert_nothing_runs(run: Run) -> None:
    """No process of the run is left; the workers may take a moment to see that nobody wants them any more."""
    until = time.monotonic() + SECONDS_TO_END
    while left := marked_processes(run.mark):
        assert time.monotonic() < until, [each.command for each in left]
        time.sleep(0.1)


def assert_graded(course: Path, undisturbed: Undisturbed) -> None:
    """The class is graded as if nothing had happened, and nothing unfinished is left."""
    assert tiny.points(course) == POINTS
    assert tiny.entries(course) == undisturbed.entries
    assert tiny.tree(course / "autograded") == undisturbed.autograded
    assert [path.name for path in (course / ".grading").rglob(".unfinished-*")] == []
