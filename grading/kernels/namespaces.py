"""Enter a sandbox that another process is in, and give up every right to leave it.

A sandbox of bubblewrap's is a set of Linux namespaces; man pages namespaces(7) and setns(2) say what each of them keeps
apart. Python's own `os.setns` comes with 3.12.
"""

import ctypes
import fcntl
import os

CLONE_NEWUSER = 0x10000000
NS_GET_USERNS = 0xB701
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = range(64)
"""As many as Linux has room for; about forty exist."""

KINDS = ("ipc", "uts", "net", "cgroup", "pid", "mnt")
"""Namespaces besides that of users. After the last, files have other names."""

libc = ctypes.CDLL(None, use_errno=True)


def open_namespaces(process: int) -> dict[str, int]:
    """A process's namespaces, by kind, each an open file descriptor. Raises `OSError` if that is not allowed."""
    return {kind: os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY) for kind in (*KINDS, "user")}


def enter(namespaces: dict[str, int]) -> None:
    """Enter these namespaces; children will be in that of processes. Raises `OSError` if that is not allowed.

    bubblewrap makes the others in a first namespace of users, and has a second in it, so that no further can be made.
    The current folder becomes the root of what can be seen inside.
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
    """Whether this process is in that namespace."""
    return os.path.samestat(os.stat(f"/proc/self/ns/{kind}"), os.fstat(namespace))


def drop_privileges() -> None:
    """Give up, for good, what entering a namespace of users has given: all capabilities, for children too."""
    for capability in CAPABILITIES:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    call(libc.capset, header, (ctypes.c_uint32 * 6)())
    call(libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Entering has made this process one that its own user may not look into, and grading must see what it uses.
    call(libc.prctl, PR_SET_DUMPABLE, 1, 0, 0, 0)


def insist_on_being_in(namespaces: dict[str, int]) -> None:
    """Raise `PermissionError` if anything of a sandbox is missing."""
    outside = [kind for kind, namespace in namespaces.items() if not is_in(kind, namespace)]
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    rights = [name for name, value in lines.items() if name.startswith("Cap") and int(value, 16)]
    if outside or rights or lines["NoNewPrivs"].strip() != "1":
        raise PermissionError(f"this process is not in the sandbox: {outside=}, {rights=}")


def close_all_but(kept: int) -> None:
    """Close every file descriptor but the first three and this one, whatever object it belongs to."""
    for low, high in ((3, kept), (kept + 1, os.sysconf("SC_OPEN_MAX"))):
        os.closerange(low, high)


def call(function, *arguments) -> None:
    """Call a function of the C library. Raises `OSError` if it fails."""
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")
