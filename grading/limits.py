"""What a kernel may use, and the watch over it.

The operating system keeps the limits on one process. The sum over all processes of a kernel, and the size of what it
writes, have no such keeper without root's help, and are looked at several times a second; whoever is over is ended.
"""

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = resource.getpagesize()
LOOKS_PER_SECOND = 5


@dataclass(frozen=True)
class Limits:
    """What one notebook may use."""

    seconds: float
    memory: int = 4 * 2**30
    """Bytes, of all processes together."""
    processes: int = 64
    file_size: int = 2**30
    """Bytes, of one file, and of all the files in the submission's folder together."""
    nbgrader_memory: int = 2 * 2**30
    """Bytes that nbgrader's own process may take: it holds what the notebook prints."""
    address_space: int = 64 * 2**30
    """Bytes that one process may ask for. PyTorch asks for far more than it uses."""

    def set_for_this_process(self) -> None:
        """Have the operating system keep what it can, for this process and those it starts."""
        for which, most in (
            (resource.RLIMIT_FSIZE, self.file_size),
            (resource.RLIMIT_AS, self.address_space),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, 4096),
        ):
            hard = resource.getrlimit(which)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(which, (most, most))


def watch(process: int, nbgrader: int, folder: Path | None, limits: Limits, is_over) -> str:
    """Watch a kernel until `is_over()`; return the limit that it went over, or nothing.

    `process` is the first of the kernel's processes, `nbgrader` is nbgrader's, and `folder` is what the kernel writes.
    """
    until = time.monotonic() + limits.seconds
    look = 0
    while not is_over():
        if time.monotonic() > until:
            return f"it took longer than {limits.seconds:g} seconds"
        family = list(processes_of(process, limits.processes + 2))
        if len(family) > limits.processes:
            return f"it had more than {limits.processes} processes"
        if sum(map(memory_of, family)) > limits.memory:
            return f"it took more than {limits.memory / 2**30:g} GB of memory"
        if memory_of(nbgrader) > limits.nbgrader_memory:
            return "it printed too much"
        look += 1
        if folder and look % LOOKS_PER_SECOND == 0 and size_of(folder) > limits.file_size:
            return f"it wrote more than {limits.file_size / 2**30:g} GB to its folder"
        time.sleep(1 / LOOKS_PER_SECOND)
    return ""


def processes_of(process: int, most: int) -> Iterator[int]:
    """A process and its descendants, no more than `most`: whoever makes them faster than we count has too many."""
    waiting = [process]
    while waiting and most:
        most -= 1
        current = waiting.pop()
        yield current
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{current}/task"):
                waiting += map(int, Path(f"/proc/{current}/task/{thread}/children").read_text().split())


def memory_of(process: int) -> int:
    """The memory that a process has for itself, in bytes; 0 where it is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        _, resident, shared, *_ = map(int, Path(f"/proc/{process}/statm").read_text().split())
        return (resident - shared) * PAGE
    return 0


def size_of(folder: Path) -> int:
    """The size of all files under a folder, in bytes; links are not followed."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total
