"""`python -m grading` is ended at random moments, and the same command resumes: no grading repeated, no score lost.

Each seed determines a moment and a way: the command is killed, alone or with its process group, or interrupted. Three
seeds run by default; `KILLS=20 pytest selftests/grading/test_class_kills.py` runs twenty.
"""

import contextlib
import os
import random
import re
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

from grading import classroom
from grading.kernels import sandbox
from selftests.grading import tiny_class as tiny
from selftests.grading.tiny_class import CLASS, POINTS, WHY_NO_SANDBOX, GradedClass, needs_sandbox

SEEDS = range(int(os.environ.get("KILLS", "3")))
MAX_SECONDS = 600
"""The time limit of any wait here, generous for a busy machine."""
MARK = "GRADING_KILLED"
"""An environment variable that all processes of a run inherit, to find them when their parents are gone."""


@dataclass
class Run:
    """`python -m grading`, in a process group of its own."""

    process: subprocess.Popen
    mark: str

    def kill_command(self) -> None:
        """Kill the command only, as the operating system does when memory runs out."""
        self.process.kill()

    def kill_group(self) -> None:
        """Kill the process group, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def interrupt(self) -> None:
        """Press Ctrl-C, in effect."""
        self.process.send_signal(signal.SIGINT)


def marked_processes(mark: str) -> list[str]:
    """List the command lines of a run's processes, whatever their parents."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:  # it has exited, or belongs to another user
            continue
    return found


@contextlib.contextmanager
def running(course: Path) -> Iterator[Run]:
    """Start grading the class with two workers, in a sandbox where available; kill it at the end of the block."""
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
        # This process may have been started with interrupts ignored, as in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield Run(process, mark)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for_moment(course: Path, run: Run, choice: random.Random, seconds: float) -> None:
    """Wait for some results, then for some more time; `seconds` is the duration of a whole run."""
    # An interrupt before is Python's to report, while it imports.
    tiny.wait_for(lambda: (course / ".grading").exists() or run.process.poll() is not None, MAX_SECONDS)
    results = choice.randrange(len(CLASS) - 1)
    tiny.wait_for(lambda: len(tiny.result_times(course)) >= results or run.process.poll() is not None, MAX_SECONDS)
    # Before the first result, a run spends about half of its time.
    time.sleep(choice.uniform(0, seconds / (2 if results == 0 else len(CLASS))))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_an_ended_run_resumes(course: Path, graded_class: GradedClass, seed: int):
    tiny.hand_in_class(course)
    with running(course) as run:
        wait_for_moment(course, run, random.Random(seed), graded_class.seconds)
        (run.kill_command, run.kill_group, run.interrupt)[seed % 3]()
        printed, _ = run.process.communicate()
    assert "Traceback" not in printed
    assert_no_process_is_left(run, but="bwrap")
    before, entered = tiny.result_times(course), tiny.entries(course)

    printed = tiny.grade(course)
    done, to_grade = map(int, re.search(r"(\d+) graded already, (\d+) to grade", printed).groups())
    assert to_grade == len(CLASS) - len(before) and done <= len(before), "a submission was graded twice"
    after = tiny.result_times(course)
    assert {student: after[student] for student in before} == before, "a submission was graded twice"
    assert_graded(course, graded_class)
    finished = {key: value for key, value in entered.items() if value[0] is not None}
    assert {key: tiny.entries(course)[key] for key in finished} == finished
    assert_no_process_is_left(run)


@needs_sandbox
def test_only_sandboxes_of_this_course_are_killed(tmp_path: Path):
    folders = [tmp_path / "course", tmp_path / "course 2"]
    for folder in folders:
        folder.mkdir()
    commands = [[*sandbox.command({folder: folder}, {}, {}), "sleep", str(MAX_SECONDS)] for folder in folders]
    ours, other = (subprocess.Popen(command) for command in commands)
    try:
        classroom.kill_sandboxes(folders[0])
        assert ours.wait(MAX_SECONDS) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        ours.kill()


def assert_no_process_is_left(run: Run, but: str = "") -> None:
    """Assert that no process of the run is left; its workers may take a moment to notice that it is gone.

    A program `but` may be: bubblewrap killed in its first milliseconds leaves a process for the next run to kill.
    """
    deadline = time.monotonic() + MAX_SECONDS
    while left := [each for each in marked_processes(run.mark) if each.split()[:1] != [but]]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def assert_graded(course: Path, graded_class: GradedClass) -> None:
    """Assert that the class is graded as without a kill, and that no temporary folder is left."""
    assert tiny.points(course) == POINTS
    assert tiny.entries(course) == tiny.entries(graded_class.folder)
    assert tiny.tree(course / "autograded") == tiny.tree(graded_class.folder / "autograded")
    assert [path.name for path in (course / ".grading").rglob(".unfinished-*")] == []
