"""Resource limits of a kernel, and whether its processes exceed them.

The operating system enforces the limits on a single process. Those on all processes of a kernel together it enforces
only where it lets us (control_groups.py); everywhere, they are polled several times a second, and a kernel that exceeds
one is killed. Memory that belongs to no process is not counted here: sandbox.py limits the sizes of file systems in
memory, system_calls.py refuses what else there is, and each open file is charged for what may wait in it to be read.
"""

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

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

    @property
    def memory_exceeded(self) -> str:
        return f"it used more than {self.memory / 2**30:g} GB of memory"

    @property
    def threads_exceeded(self) -> str:
        return f"it had more than {self.threads} threads"

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


class Usage:
    """What a kernel uses, from the creation of this object on."""

    def __init__(self, root: int, limits: Limits, exceeded: Callable[[], str] = lambda: "") -> None:
        """`root` is the process whose descendants are the kernel's; the caller's process is nbgrader's.

        `exceeded` returns which limit the kernel has exceeded by the system's own account.
        """
        self.root, self.limits, self.exceeded = root, limits, exceeded
        self.deadline = time.monotonic() + limits.seconds
        # With what it has not returned of the output of earlier notebooks.
        self.nbgrader_before = total([os.getpid()], resident)

    def excess(self) -> str:
        """Return which limit is exceeded now, or an empty string."""
        limits = self.limits
        if time.monotonic() > self.deadline:
            return f"it ran longer than {limits.seconds:g} seconds"
        processes = list(process_tree(self.root, limits.processes + 2))
        if len(processes) > limits.processes:
            return f"it had more than {limits.processes} processes"
        if reason := self.exceeded():
            return reason
        if total(processes, psutil.Process.num_threads) > limits.threads:
            return limits.threads_exceeded
        allowed = limits.memory - BUFFER_BYTES * total(processes, psutil.Process.num_fds)
        # The resident pages, of which each process counts the shared ones, are the fast measure, and never too small.
        if total(processes, resident) > allowed and total(processes, proportional) > allowed:
            return limits.memory_exceeded
        if total([os.getpid()], resident) - self.nbgrader_before > limits.nbgrader_memory:
            return "it printed too much"
        return ""


def process_tree(root: int, limit: int) -> Iterator[int]:
    """Yield a process and its descendants, at most `limit`: a fork bomb may grow faster than it can be counted.

    psutil's own walk has no such limit, and reads the parents of all processes of the machine.
    """
    waiting = [root]
    while waiting and limit:
        limit -= 1
        current = waiting.pop()
        yield current
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{current}/task"):
                waiting += map(int, Path(f"/proc/{current}/task/{thread}/children").read_text().split())


def total(processes: Iterable[int], measure: Callable[[psutil.Process], int]) -> int:
    """Return the sum of a measure over processes; one that has exited counts as 0."""
    amount = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            amount += measure(psutil.Process(process))
    return amount


def resident(process: psutil.Process) -> int:
    """Return a process's resident memory in bytes."""
    return process.memory_info().rss


def proportional(process: psutil.Process) -> int:
    """Return the same with each page divided by the processes that share it, where the system reports that."""
    try:
        return process.memory_full_info().pss
    except psutil.AccessDenied:
        return resident(process)
