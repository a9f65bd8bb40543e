"""What a kernel may use, and the watch over it.

The operating system keeps the limits on one process. The sum over all processes of a kernel, and the size of what it
writes, have no such keeper without root's help, and are looked at several times a second; whoever is over is ended.
What lies in a sandbox's file systems in memory is not counted here: their sizes are limited where they are made.
"""

import contextlib
import functools
import os
import resource
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grading.folders import size_of

LOOKS_PER_SECOND = 5


@dataclass(frozen=True)
class Limits:
    """What one notebook may use."""

    seconds: float
    memory: int = 4 * 2**30
    """Bytes, of all processes together."""
    processes: int = 64
    file_size: int = 2**30
    """Bytes, of one file, and of all the files in the folders that a kernel can write to together."""
    nbgrader_memory: int = 2**30
    """Bytes that nbgrader's own process may take: it holds what the notebook prints."""
    address_space: int = 64 * 2**30
    """Bytes that one process may ask for. PyTorch asks for far more than it uses."""

    def set_for(self, process: int | None = None) -> None:
        """Have the operating system keep what it can, for a process, by default this one, and those it starts."""
        set_limit = resource.setrlimit if process is None else functools.partial(resource.prlimit, process)
        for which, most in (
            (resource.RLIMIT_FSIZE, self.file_size),
            (resource.RLIMIT_AS, self.address_space),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, 4096),
        ):
            hard = resource.getrlimit(which)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            set_limit(which, (most, most))
        with contextlib.suppress(OSError):
            # Should the machine run out of memory between two looks, Linux ends these processes before all others.
            Path(f"/proc/{process or 'self'}/oom_score_adj").write_text("1000")


def watch(process: int, nbgrader: int, folders: Sequence[Path], limits: Limits, is_over) -> str:
    """Watch a kernel until `is_over()`; return the limit that it went over, or nothing.

    `process` is the first of the kernel's processes, `nbgrader` is nbgrader's, and `folders` are what the kernel can
    write to on a disk.
    """
    until = time.monotonic() + limits.seconds
    look = 0
    while not is_over():
        if time.monotonic() > until:
            return f"it took longer than {limits.seconds:g} seconds"
        family = list(processes_of(process, limits.processes + 2))
        if len(family) > limits.processes:
            return f"it had more than {limits.processes} processes"
        on_disk, in_memory = sizes_of_deleted_files(family, folders)
        if memory_of_all(family, limits.memory - in_memory) > limits.memory - in_memory:
            return f"it took more than {limits.memory / 2**30:g} GB of memory"
        if memory_of(nbgrader) > limits.nbgrader_memory:
            return "it printed too much"
        look += 1
        if folders and look % LOOKS_PER_SECOND == 0 and size_of(folders) + on_disk > limits.file_size:
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


def memory_of_all(processes: Sequence[int], most: int) -> int:
    """The memory that processes take together, in bytes.

    What is quickly found counts a page for each process that shares it. Above `most`, each is counted once.
    """
    total = sum(map(memory_of, processes))
    return total if total <= most else sum(map(memory_of_share, processes))


def memory_of(process: int) -> int:
    """The memory that a process takes, in bytes, except for what the system can read again from files; 0 if gone."""
    return read_kilobytes(f"/proc/{process}/status", ("RssAnon:", "RssShmem:")) * 1024


def memory_of_share(process: int) -> int:
    """The same, with each page divided by the number of processes that share it, where the system says so."""
    share = read_kilobytes(f"/proc/{process}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))
    return share * 1024 or memory_of(process)


def read_kilobytes(file: str, names: tuple[str, ...]) -> int:
    """The sum of some values in a file of Linux about a process."""
    with contextlib.suppress(OSError):
        lines = Path(file).read_text(errors="replace").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(names))
    return 0


def sizes_of_deleted_files(processes: Iterable[int], folders: Sequence[Path]) -> tuple[int, int]:
    """The bytes of files that have no name, and live while a process has them open: on the folders' disk, in memory."""
    disks = {os.stat(folder).st_dev for folder in folders}
    files = {(file.st_dev, file.st_ino): file for process in processes for file in open_files(process)}
    deleted = [file for file in files.values() if stat.S_ISREG(file.st_mode) and not file.st_nlink]
    on_disk = sum(file.st_blocks * 512 for file in deleted if file.st_dev in disks)
    return on_disk, sum(file.st_blocks * 512 for file in deleted) - on_disk


def open_files(process: int) -> Iterator[os.stat_result]:
    """What a process has open, as far as the system tells."""
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                yield os.stat(f"/proc/{process}/fd/{descriptor}")
