"""System calls that no notebook needs, refused in every sandbox by a filter of the system's (seccomp).

Capabilities and namespaces do not protect what these reach: the instructor's keyrings, other processes' memory, and
memory that belongs to no process, which no count of processes finds. libseccomp makes the filter for this machine's
processor; calls of any other processor's kind kill the process.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator

REFUSED = """
add_key keyctl request_key
bpf io_uring_enter io_uring_register io_uring_setup perf_event_open userfaultfd
kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace
fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_by_handle_at open_tree pivot_root umount2
setns unshare
memfd_create memfd_secret mq_open msgget semget shmget
""".split()
SHARED_ANONYMOUS = 0x01 | 0x20
"""Flags of mmap(2) that are refused together: what such a mapping keeps is counted only while it is mapped whole."""

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # of libseccomp's seccomp.h, as are the names below
SCMP_CMP_MASKED_EQ = 7


class ArgumentComparison(ctypes.Structure):
    """libseccomp's `struct scmp_arg_cmp`."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("mask", ctypes.c_uint64), ("value", ctypes.c_uint64)]


class Filter:
    """libseccomp's filter. Raises `OSError` where the library is missing or too old, or the system refuses."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libseccomp.so.2")
        self.library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.library.seccomp_init(ALLOW))
        for name in REFUSED:
            self._refuse(name, 0, None)
        shared = ArgumentComparison(3, SCMP_CMP_MASKED_EQ, SHARED_ANONYMOUS, SHARED_ANONYMOUS)
        self._refuse("mmap", 1, ctypes.byref(shared))

    def export(self) -> int:
        """Return a descriptor from which bubblewrap reads the filter."""
        file = os.memfd_create("filter")
        self._call("seccomp_export_bpf", self.context, file)
        os.lseek(file, 0, os.SEEK_SET)
        return file

    def _refuse(self, name: str, conditions: int, condition: object) -> None:
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            raise OSError(f"libseccomp is too old: it does not know the system call {name}")
        self._call("seccomp_rule_add_array", self.context, REFUSE, number, conditions, condition)

    def _call(self, function: str, *arguments: object) -> None:
        if code := getattr(self.library, function)(*arguments):
            raise OSError(-code, f"{function}: {os.strerror(-code)}")


@contextlib.contextmanager
def filtered(bubblewrap: list[str]) -> Iterator[tuple[list[str], int]]:
    """Add the filter to a command line of bubblewrap's; yield that and the file descriptor to be passed to it."""
    file = Filter().export()
    try:
        yield [*bubblewrap, "--seccomp", str(file)], file
    finally:
        os.close(file)
