"""The kernel's own limits on a kernel server with all that it starts: control groups (cgroup v2), where available.

They also count memory that belongs to no process, and hold between two polls of limits.py, which goes on polling. They
are available where the grader's own group is delegated to its user; elsewhere these functions do nothing.
Source: Linux, Documentation/admin-guide/cgroup-v2.rst.
"""

import contextlib
import errno
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from grading.kernels.limits import Limits, process_tree

OURS = "grading"
"""The group that the grader's own processes move to: one with limited groups in it may hold no processes."""
ROUNDS = 5
SYSTEMD = Path("/run/systemd/system")
UNAVAILABLE = OSError, StopIteration


def confine(process: int, limits: Limits, files: int) -> Path | None:
    """Move a kernel server that has run no notebook yet to a new group with these limits; return it if available.

    `files` is the memory for files, in bytes, in addition to that of the limits.
    """
    with contextlib.suppress(*UNAVAILABLE), open(outer_group() / "cgroup.procs") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers may be here too
        outer = Path(lock.name).parent
        enable_controllers(outer)
        for left_over in outer.glob(f"{OURS}-*"):
            remove(left_over)
        group = outer / f"{OURS}-{process}"
        group.mkdir()
        memory = {"memory.max": limits.memory + files, "memory.swap.max": 0, "memory.oom.group": 1}
        for name, value in (memory | {"pids.max": limits.threads}).items():
            if (group / name).exists():
                (group / name).write_text(str(value))
        move(lambda: process_tree(process, limits.processes), group)
        return group
    return None


def remove(group: Path | None) -> None:
    """Remove a group if all of its processes have exited; otherwise, a kernel server that starts later removes it."""
    with contextlib.suppress(OSError):
        if group:
            group.rmdir()


def watch(process: int, limits: Limits) -> Callable[[], str]:
    """Return a function that returns which limit a kernel server's group has exceeded since now, or an empty string."""
    with contextlib.suppress(*UNAVAILABLE):
        group = group_of(process)
        if group.name.startswith(f"{OURS}-"):
            before = failures(group)

            def exceeded() -> str:
                memory, threads = (now > then for now, then in zip(failures(group), before, strict=True))
                return limits.memory_exceeded if memory else limits.threads_exceeded if threads else ""

            return exceeded
    return lambda: ""


def failures(group: Path) -> tuple[int, int]:
    """Return how often a group had no memory, and no thread, left to give."""
    # `oom` and not `oom_kill`, which also counts processes killed because the whole machine had none.
    return count(group / "memory.events", "oom"), count(group / "pids.events", "max")


def count(file: Path, event: str) -> int:
    """Return how often a file says that an event has occurred; 0 if the file is gone."""
    with contextlib.suppress(OSError):
        return int(dict(line.split() for line in file.read_text().splitlines())[event])
    return 0


def outer_group() -> Path:
    """Return the group that may be delegated to the grader. Raises `OSError` if it is systemd's, not delegated."""
    group = group_of(os.getpid())
    outer = group.parent if group.name == OURS else group
    if SYSTEMD.exists() and not is_delegated(outer.name):
        raise PermissionError(f"{outer} is not delegated")
    return outer


def is_delegated(unit: str) -> bool:
    """Return whether systemd leaves a unit's group to its processes; it may stop others when the kernel kills one."""
    manager = ["--user"] if os.getuid() else []
    command = ["systemctl", *manager, "show", "--property=Delegate", "--value", unit]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() == "yes"


def group_of(process: int) -> Path:
    """Return the folder of a process's group. Raises `OSError` or `StopIteration` where there are no such groups."""
    lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    group = next(line.removeprefix("0::") for line in lines if line.startswith("0::"))
    return folder_of(group, Path("/proc/self/mountinfo").read_text())


def folder_of(group: str, mounts: str) -> Path:
    """Return a group's folder, given the text of /proc/self/mountinfo. A container may see a part of the groups."""
    mounted, folder = next(line.split()[3:5] for line in mounts.splitlines() if " - cgroup2 " in line)
    return Path(os.path.normpath(f"{folder}/{os.path.relpath(group, mounted)}"))


def enable_controllers(outer: Path) -> None:
    """Make a group's inner groups count memory and threads. Raises `OSError` if it is not delegated."""
    try:
        (outer / "cgroup.subtree_control").write_text("+memory +pids")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        (outer / OURS).mkdir(exist_ok=True)
        move(lambda: processes(outer), outer / OURS)
        (outer / "cgroup.subtree_control").write_text("+memory +pids")


def move(list_processes: Callable[[], Iterable[int]], group: Path) -> None:
    """Move processes to a group, and those that they were starting meanwhile."""
    for _ in range(ROUNDS):
        for process in set(list_processes()) - set(processes(group)):
            with contextlib.suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(process))


def processes(group: Path) -> list[int]:
    return [int(line) for line in (group / "cgroup.procs").read_text().split()]
