"""Enter the sandbox of another process, and drop every privilege that could lead out of it.

A sandbox of bubblewrap's is a set of Linux namespaces; man pages namespaces(7) and setns(2) say what each of them
isolates. Python's own `os.setns` comes with 3.12.
"""

import ctypes
import fcntl
import os
from collections.abc import Callable
from typing import Any

CLONE_NEWUSER = 0x10000000
NS_GET_USERNS = 0xB701
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = range(64)
"""Every number that Linux could use; about forty exist."""

KINDS = ("ipc", "uts", "net", "cgroup", "pid", "mnt")
"""Namespaces besides the user namespace. Paths change meaning after the last one."""

libc = ctypes.CDLL(None, use_errno=True)


def open_namespaces(process: int) -> dict[str, int]:
    """Open a process's namespaces; return their file descriptors by kind. Raises `OSError` if that is not allowed."""
    return {kind: os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY) for kind in (*KINDS, "user")}


def enter(namespaces: dict[str, int]) -> None:
    """Enter these namespaces; that of processes applies to children. Raises `OSError` if that is not allowed.

    bubblewrap creates the other namespaces in a first user namespace, and nests a second one, so that no more can be
    created. The current folder becomes the root of the sandbox's file system.
    """
    first = fcntl.ioctl(namespaces["mnt"], NS_GET_USERNS)
    try:
        second = namespaces["user"] if not os.path.sameopenfile(first, namespaces["user"]) else None
        call(libc.setns, first, CLONE_NEWUSER)
        for kind in KINDS:
            if not is_in(kind, namespaces[kind]):
                call(libc.setns, namespaces[kind], 0)
        if second is not None:
            call(libc.setns, second, CLONE_NEWUSER)
    finally:
        os.close(first)


def is_in(kind: str, namespace: int) -> bool:
    """Return whether this process is in that namespace."""
    return os.path.samestat(os.stat(f"/proc/self/ns/{kind}"), os.fstat(namespace))


def drop_privileges() -> None:
    """Drop, for this process and its children, all capabilities that entering a user namespace has granted."""
    for capability in CAPABILITIES:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    call(libc.capset, header, (ctypes.c_uint32 * 6)())
    call(libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Entering has made this process's /proc files unreadable to its own user, and grading must read its memory use.
    call(libc.prctl, PR_SET_DUMPABLE, 1, 0, 0, 0)


def verify_inside(namespaces: dict[str, int]) -> None:
    """Raise `PermissionError` unless this process is in all namespaces, without capabilities and filtered."""
    outside = [kind for kind, namespace in namespaces.items() if not is_in(kind, namespace)]
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    capabilities = [name for name, value in lines.items() if name.startswith("Cap") and int(value, 16)]
    filtered = lines["Seccomp"].strip() == "2"
    if outside or capabilities or lines["NoNewPrivs"].strip() != "1" or not filtered:
        raise PermissionError(f"this process is not in the sandbox: {outside=}, {capabilities=}, {filtered=}")


def close_other_descriptors(kept: int) -> None:
    """Close every file descriptor except the standard streams and `kept`."""
    for low, high in ((3, kept), (kept + 1, os.sysconf("SC_OPEN_MAX"))):
        os.closerange(low, high)


def call(function: Callable[..., int], *arguments: Any) -> None:
    """Call a function of the C library. Raises `OSError` if it fails."""
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")
