"""Resource limits of a kernel, and the loop that enforces them.

The operating system enforces the limits on a single process. Limits on all processes of a kernel together would need
root's help; they are polled several times a second instead, and a kernel that exceeds one is killed. Memory that
belongs to no process is not counted here: sandbox.py limits the sizes of file systems in memory, system_calls.py
refuses what else there is, and each open file is charged for what may wait in it to be read.
"""

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

POLLS_PER_SECOND = 5
BUFFER_BYTES = 2**19
"""What an open socket or pipe may hold unread, by Linux's defaults."""


@dataclass(frozen=True)
class Limits:
    """What one notebook may use."""

    seconds: float
    memory: int = 4 * 2**30
    """Bytes used by all processes together."""
    processes: int = 64
    threads: int = 512
    """Threads of all processes together."""
    file_size: int = 2**30
    """Bytes of one file."""
    nbgrader_memory: int = 2**30
    """Bytes by which nbgrader's own process may grow, which holds the notebook's output."""
    address_space: int = 64 * 2**30
    """Bytes of virtual memory of one process. PyTorch reserves far more than it uses."""

    def apply(self) -> None:
        """Set the per-process limits for this process and those it starts."""
        for which, limit in (
            (resource.RLIMIT_FSIZE, self.file_size),
            (resource.RLIMIT_AS, self.address_space),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_DATA, self.address_space),
            (resource.RLIMIT_NOFILE, 1024),
        ):
            hard = resource.getrlimit(which)[1]
            limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(which, (limit, limit))
        with contextlib.suppress(OSError):
            # If the machine runs out of memory between two polls, Linux kills these processes first.
            Path("/proc/self/oom_score_adj").write_text("1000")


def monitor(process: int, nbgrader: int, limits: Limits, has_exited: Callable[[], bool]) -> str:
    """Monitor a kernel until `has_exited()`; return which limit it exceeded, or an empty string.

    `process` is the root of the kernel's process tree, and `nbgrader` is nbgrader's process.
    """
    deadline = time.monotonic() + limits.seconds
    nbgrader_before = memory_of(nbgrader)  # with what it has not returned of the output of earlier notebooks
    while not has_exited():
        if time.monotonic() > deadline:
            return f"it ran longer than {limits.seconds:g} seconds"
        processes = list(process_tree(process, limits.processes + 2))
        if len(processes) > limits.processes:
            return f"it had more than {limits.processes} processes"
        if sum(count(each, "task") for each in processes) > limits.threads:
            return f"it had more than {limits.threads} threads"
        unread = BUFFER_BYTES * sum(count(each, "fd") for each in processes)
        if total_memory(processes, limits.memory - unread) > limits.memory - unread:
            return f"it used more than {limits.memory / 2**30:g} GB of memory"
        if memory_of(nbgrader) - nbgrader_before > limits.nbgrader_memory:
            return "it printed too much"
        time.sleep(1 / POLLS_PER_SECOND)
    return ""


def process_tree(process: int, limit: int) -> Iterator[int]:
    """Yield a process and its descendants, at most `limit`: a fork bomb may grow faster than it can be counted."""
    waiting = [process]
    while waiting and limit:
        limit -= 1
        current = waiting.pop()
        yield current
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{current}/task"):
                waiting += map(int, Path(f"/proc/{current}/task/{thread}/children").read_text().split())


def total_memory(processes: Sequence[int], limit: int) -> int:
    """Return the memory that processes use together, in bytes.

    The fast measure, RSS, counts a shared page once for each process. Above `limit`, PSS counts it once in all.
    """
    total = sum(map(memory_of, processes))
    return total if total <= limit else sum(map(proportional_memory_of, processes))


def memory_of(process: int) -> int:
    """Return a process's resident memory (RSS) without pages backed by files, in bytes; 0 if it has exited."""
    return read_kilobytes(f"/proc/{process}/status", ("RssAnon:", "RssShmem:")) * 1024


def proportional_memory_of(process: int) -> int:
    """Return the same with each page divided by the processes that share it (PSS), where the system reports that."""
    kilobytes = read_kilobytes(f"/proc/{process}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))
    return kilobytes * 1024 or memory_of(process)


def read_kilobytes(file: str, names: tuple[str, ...]) -> int:
    """Return the sum of some values in a file of /proc about a process."""
    with contextlib.suppress(OSError):
        lines = Path(file).read_text(errors="replace").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(names))
    return 0


def count(process: int, what: str) -> int:
    """Return how many threads (`task`) or open files (`fd`) a process has; 0 if it has exited."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{process}/{what}"))
    return 0
