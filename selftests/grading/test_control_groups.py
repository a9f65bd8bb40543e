"""The kernel's own limits on a kernel server: tried where the system lets us set them, and absent elsewhere."""

import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from grading.kernels import control_groups
from grading.kernels.limits import Limits

LIMITS = Limits(seconds=600, memory=2**28, threads=64)
FILES = 2**26
TOO_MUCH_MEMORY, TOO_MANY_THREADS = "it used more than 0.25 GB of memory", "it had more than 64 threads"

TAKE_MEMORY = "kept = [b'x' * 2**20 for _ in range(400)]"
DELETED_FILES = """
import mmap, os
kept = []
for _ in range(50):
    file = os.memfd_create("deleted")
    os.truncate(file, 2**23)
    kept.append(mmap.mmap(file, 2**23))
    os.close(file)
    kept[-1].write(bytes(2**23))
    kept[-1].madvise(mmap.MADV_DONTNEED)
"""
FILES_IN_FLIGHT = """
import os, socket
kept = []
for _ in range(50):
    file = os.memfd_create("in flight")
    os.posix_fallocate(file, 0, 2**23)
    kept.append(socket.socketpair())
    socket.send_fds(kept[-1][0], [b"x"], [file])
    os.close(file)
"""
THREADS = """
import threading
threading.stack_size(2**16)
try:
    for _ in range(12_000):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
except RuntimeError:
    input()
"""
FORKS = """
import os
for _ in range(1000):
    if not os.fork():
        os.read(0, 1)
        os._exit(0)
"""


@dataclass
class Program:
    """A program in a group of its own, which waits for a line of input before it does anything."""

    process: subprocess.Popen
    group: Path | None
    exceeded: Callable[[], str]

    def go_on(self) -> None:
        """Send that line."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def finish(self) -> str:
        """Have it go on until it exits; return which limit it has exceeded."""
        self.process.communicate(b"\n")
        return self.exceeded()


def start(code: str) -> Program:
    """Start a program in a group of its own."""
    process = subprocess.Popen([sys.executable, "-c", f"input()\n{code}"], stdin=subprocess.PIPE)
    group = control_groups.confine(process.pid, LIMITS, FILES)
    return Program(process, group, control_groups.watch(process.pid, LIMITS))


@pytest.fixture
def run() -> Iterator[Callable[[str], Program]]:
    """The function `start`; its programs are killed after the test."""
    started: list[Program] = []
    yield lambda code: started.append(start(code)) or started[-1]
    for program in started:
        program.process.kill()
        program.process.communicate()
        control_groups.remove(program.group)


@pytest.fixture(scope="module")
def available() -> bool:
    """Whether the system lets us set limits on groups."""
    program = start("")
    program.finish()
    control_groups.remove(program.group)
    return program.group is not None


@pytest.fixture
def required(available: bool) -> None:
    if not available:
        reason = "CONTROL GROUPS NOT TESTED: no cgroup v2 is delegated to the user who runs the tests"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)


V2 = "30 23 0:26 {mounted} {folder} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "29 23 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids"


@pytest.mark.parametrize(
    ("group", "mounted", "folder", "found"),
    [
        ("/", "/", "/sys/fs/cgroup", "/sys/fs/cgroup"),
        ("/user.slice/a.scope", "/", "/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/a.scope"),
        ("/docker/ab/c", "/docker/ab", "/sys/fs/cgroup", "/sys/fs/cgroup/c"),
        ("/a", "/", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/a"),
    ],
)
def test_the_folder_of_a_group_is_found_in_the_list_of_mounts(group: str, mounted: str, folder: str, found: str):
    mounts = f"22 1 254:0 / / rw - ext4 /dev/vda rw\n{V1}\n{V2.format(mounted=mounted, folder=folder)}\n"
    assert control_groups.folder_of(group, mounts) == Path(found)


def test_events_are_counted_by_name(tmp_path: Path):
    file = tmp_path / "memory.events"
    file.write_text("low 0\nhigh 1\nmax 25\noom 3\noom_kill 7\noom_group_kill 2\n")
    assert control_groups.count(file, "oom") == 3
    file.unlink()
    assert control_groups.count(file, "oom") == 0


def test_without_control_groups_nothing_happens(available: bool, run: Callable[[str], Program]):
    if available:
        pytest.skip("control groups are available here")
    program = run("")
    assert program.group is None
    assert program.finish() == ""
    assert program.process.returncode == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (TAKE_MEMORY, TOO_MUCH_MEMORY),
        (DELETED_FILES, TOO_MUCH_MEMORY),
        (FILES_IN_FLIGHT, TOO_MUCH_MEMORY),
        (THREADS, TOO_MANY_THREADS),
        (FORKS, TOO_MANY_THREADS),
        ("kept = bytearray(2**27)", ""),
    ],
)
def test_exceeding_a_limit_affects_no_other_group(
    required: None, run: Callable[[str], Program], code: str, reason: str
):
    honest, program = run("kept = bytearray(2**27)"), run(code)
    assert program.finish() == reason
    assert honest.finish() == ""
    assert honest.process.returncode == 0


def test_a_group_is_killed_whole_when_it_has_no_memory_left(required: None, run: Callable[[str], Program]):
    """The child takes the memory; its parent would wait for the next line."""
    program = run(f"import os\nif os.fork():\n    input()\nelse:\n    {TAKE_MEMORY}\n    os._exit(0)")
    program.go_on()
    assert program.process.wait() < 0
    assert program.exceeded() == TOO_MUCH_MEMORY


def test_what_an_earlier_notebook_exceeded_does_not_count(required: None, run: Callable[[str], Program]):
    program = run(THREADS)
    program.go_on()
    while not program.exceeded():
        time.sleep(0.01)
    assert control_groups.watch(program.process.pid, LIMITS)() == ""


def test_groups_of_killed_runs_are_removed_and_others_stay(required: None, run: Callable[[str], Program]):
    killed, running = run(""), run("")
    killed.process.kill()
    killed.process.wait()
    after = run("")
    assert killed.group and running.group and after.group
    assert not killed.group.exists()
    assert running.group.parent == after.group.parent == control_groups.outer_group()
    assert control_groups.processes(running.group) == [running.process.pid]
    assert running.finish() == after.finish() == ""
