"""Resource limits of a kernel, and the loop that enforces them.

The operating system enforces the limits on a single process. Limits on all processes of a kernel together, and on the
size of the files it writes, would need root's help; they are polled several times a second instead, and a kernel that
exceeds one is killed. A sandbox's in-memory file systems are not counted here: sandbox.py limits their sizes.
"""

import contextlib
import functools
import os
import resource
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grading.folders import disk_usage

POLLS_PER_SECOND = 5


@dataclass(frozen=True)
class Limits:
    """What one notebook may use."""

    seconds: float
    memory: int = 4 * 2**30
    """Bytes used by all processes together."""
    processes: int = 64
    file_size: int = 2**30
    """Bytes of one file, and of all files together in the folders that a kernel can write to."""
    nbgrader_memory: int = 2**30
    """Bytes by which nbgrader's own process may grow, which holds the notebook's output."""
    address_space: int = 64 * 2**30
    """Bytes of virtual memory of one process. PyTorch reserves far more than it uses."""

    def apply(self, process: int | None = None) -> None:
        """Set the per-process limits for a process, by default this one, and those it starts."""
        set_limit = resource.setrlimit if process is None else functools.partial(resource.prlimit, process)
        for which, limit in (
            (resource.RLIMIT_FSIZE, self.file_size),
            (resource.RLIMIT_AS, self.address_space),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, 4096),
        ):
            hard = resource.getrlimit(which)[1]
            limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            set_limit(which, (limit, limit))
        with contextlib.suppress(OSError):
            # If the machine runs out of memory between two polls, Linux kills these processes first.
            Path(f"/proc/{process or 'self'}/oom_score_adj").write_text("1000")


def monitor(
    process: int, nbgrader: int, folders: Sequence[Path], limits: Limits, has_exited: Callable[[], bool]
) -> str:
    """Monitor a kernel until `has_exited()`; return which limit it exceeded, or an empty string.

    `process` is the root of the kernel's process tree, `nbgrader` is nbgrader's process, and `folders` are those on
    disk that the kernel can write to.
    """
    deadline = time.monotonic() + limits.seconds
    polls = 0
    nbgrader_before = memory_of(nbgrader)  # with what it has not returned of the output of earlier notebooks
    while not has_exited():
        if time.monotonic() > deadline:
            return f"it ran longer than {limits.seconds:g} seconds"
        processes = list(process_tree(process, limits.processes + 2))
        if len(processes) > limits.processes:
            return f"it had more than {limits.processes} processes"
        on_disk, in_memory = sizes_of_deleted_files(processes, folders)
        if total_memory(processes, limits.memory - in_memory) > limits.memory - in_memory:
            return f"it used more than {limits.memory / 2**30:g} GB of memory"
        if memory_of(nbgrader) - nbgrader_before > limits.nbgrader_memory:
            return "it printed too much"
        polls += 1
        if folders and polls % POLLS_PER_SECOND == 0 and disk_usage(folders) + on_disk > limits.file_size:
            return f"it wrote more than {limits.file_size / 2**30:g} GB to disk"
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


def sizes_of_deleted_files(processes: Iterable[int], folders: Sequence[Path]) -> tuple[int, int]:
    """Return the bytes of deleted files that processes hold open: on the folders' disks, and in memory."""
    disks = {os.stat(folder).st_dev for folder in folders}
    files = {(file.st_dev, file.st_ino): file for process in processes for file in open_files(process)}
    deleted = [file for file in files.values() if stat.S_ISREG(file.st_mode) and not file.st_nlink]
    on_disk = sum(file.st_blocks * 512 for file in deleted if file.st_dev in disks)
    return on_disk, sum(file.st_blocks * 512 for file in deleted) - on_disk


def open_files(process: int) -> Iterator[os.stat_result]:
    """Yield the status of each file that a process has open, as far as it is accessible."""
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                yield os.stat(f"/proc/{process}/fd/{descriptor}")
