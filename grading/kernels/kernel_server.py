"""A process with preloaded imports that forks a kernel for each notebook of one submission.

    python kernel_server.py FILE_DESCRIPTOR MODULE FILE FOLDER [ORIGINAL WRITABLE SOCKETS]

It starts inside the submission's sandbox, before any of the student's code runs there, and serves this submission only.
It imports the module in the file once, if there is one, and calls its function `warm_up`, if it has one; if that fails,
it answers the first request with the error, and exits. Then it serves requests at the socket, each one line of JSON: an
empty list asks it to reset the sandbox for the next notebook; the arguments of IPython's kernel ask for a kernel to be
forked, in FOLDER, and are answered with its exit code.

To reset the sandbox is to delete everything that the previous notebook has left in WRITABLE and the system's folders
for temporary files, and to make FOLDER and SOCKETS in WRITABLE. ORIGINAL is nbgrader's folder for the submission,
mounted read-only; every kernel gets a copy of its files in FOLDER.

Inside the sandbox there is no other module of this package. How processes end together is by prctl(2) of Linux.
"""

import contextlib
import ctypes
import gc
import importlib.util
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
POLL_SECONDS = 0.05
IN_MEMORY = ("/tmp", "/dev/shm")
"""The sandbox's own folders that notebooks can write to."""


def main(listening: socket.socket, module: str, file: str, folder: str, original: str = "", *writable: str) -> None:
    """Serve until this process is killed or the sandbox cannot be reset."""
    if not original:
        die_with_parent()  # a sandbox does so by itself
    become_subreaper()
    try:
        preload(module, file)
    except Exception as error:
        traceback.print_exc()
        connection, _ = listening.accept()
        connection.sendall(f"{type(error).__name__}: {error}\n".encode())
        sys.exit(1)
    while True:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            arguments = json.loads(connection.makefile().readline() or "[]")
            if not arguments and original and not reset_sandbox(folder, *writable):
                sys.exit("files left by a notebook cannot be deleted")
            reply = run_kernel(arguments, folder, original, connection, listening) if arguments else "ready"
            connection.sendall(f"{reply}\n".encode())


def preload(module: str, file: str) -> None:
    """Import what every kernel imports, and the module in the file."""
    import ipykernel.debugger
    import ipykernel.kernelapp  # noqa: F401

    if file:
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec and spec.loader
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
        getattr(sys.modules[module], "warm_up", lambda: None)()
    gc.freeze()  # a collection in a kernel would touch, and so copy, memory that all kernels share


def reset_sandbox(folder: str, writable: str, sockets: str) -> bool:
    """Delete the files that a notebook has left, and make its empty folders; return whether that succeeded."""
    find = ["find", writable, *IN_MEMORY, "-xdev"]  # not the mounts in there
    restore_permissions = ["-type", "d", "!", "-perm", "-u=rwx", "-execdir", "chmod", "u+rwx", "{}", ";"]
    for action in (restore_permissions, ["-mindepth", "1", "-delete"]):
        subprocess.run([*find, *action], stderr=subprocess.DEVNULL)
    try:
        for path in (os.environ["HOME"], folder, sockets):
            os.makedirs(path)
        return os.path.ismount(writable)  # unless a folder that it lies in was moved
    except OSError:
        return False


def run_kernel(
    arguments: list[str], folder: str, original: str, connection: socket.socket, listening: socket.socket
) -> int:
    """Run a kernel until it exits or the client disconnects; return its exit code."""
    kernel = os.fork()
    if kernel == 0:
        connection.close()
        listening.close()
        become_kernel(arguments, folder, original)
    code = wait_for_exit(kernel, connection)
    kill_descendants(kernel)
    return code


def become_kernel(arguments: list[str], folder: str, original: str) -> None:
    """Become a kernel, in its folder with a copy of the files in `original`, if any. Does not return."""
    from ipykernel.kernelapp import IPKernelApp

    code = 1
    try:
        die_with_parent()
        os.setsid()  # an interrupt is for this process and its children
        if original:
            shutil.copytree(original, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
        os.chdir(folder)
        random.seed()
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()
        IPKernelApp.launch_instance(argv=arguments)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait_for_exit(kernel: int, connection: socket.socket) -> int:
    """Wait for a kernel's exit, and return its code; kill it when the client disconnects."""
    while True:
        exited, status = os.waitpid(kernel, os.WNOHANG)
        if exited:
            return os.waitstatus_to_exitcode(status)
        if select.select([connection], [], [], POLL_SECONDS)[0]:
            os.kill(kernel, signal.SIGKILL)


def kill_descendants(kernel: int) -> None:
    """Kill every process that a kernel has left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(kernel, signal.SIGKILL)
    while left := list(children()):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def children() -> Iterator[int]:
    """This process's children, where the system lists them."""
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as listed:
                yield from map(int, listed.read().split())


def die_with_parent() -> None:
    """Have the system kill this process when its parent exits, so that a killed worker leaves no process behind."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent or parent == 1:
            sys.exit("the parent process has exited")


def become_subreaper() -> None:
    """Become the parent of descendants whose parent exits, so that none outlives its notebook."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


if __name__ == "__main__":
    del sys.path[0]  # this file's folder is not for notebooks to import from
    main(socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:])
