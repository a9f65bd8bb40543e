"""A process with preloaded imports that forks a kernel for each notebook of one submission.

    python kernel_server.py FILE_DESCRIPTOR STATEMENTS [ORIGINAL WRITABLE FOLDER...]

It starts inside the submission's sandbox, before any of the student's code runs there, and serves this submission only.
It executes the statements once; if they fail, it answers the first request with the error, and exits. Then it serves
requests at the socket, each one line of JSON: `{}` asks it to reset the sandbox for the next notebook; the arguments,
environment and folder of a kernel ask for a kernel to be forked, and are answered with its exit code.

To reset the sandbox is to delete everything that the previous notebook has left in WRITABLE and the system's folders
for temporary files, and to make each FOLDER in WRITABLE. ORIGINAL is nbgrader's folder for the submission, mounted
read-only; every kernel gets a copy of its files in its current folder.

Inside the sandbox it can import process_control.py beside it, and no other module of this package.
"""

import contextlib
import gc
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

if __name__ == "__main__" and sys.flags.safe_path:
    sys.path.insert(0, os.path.dirname(__file__))  # as Python does unless PYTHONSAFEPATH is set

from process_control import become_subreaper, die_with_parent

if __name__ == "__main__":
    del sys.path[0]  # this file's folder is not for notebooks to import from
    gc.disable()  # during the imports: a fifth of their time would go to collections that find nothing

import ipykernel.debugger  # noqa: F401  which every kernel imports
from ipykernel.kernelapp import IPKernelApp

POLL_SECONDS = 0.05
IN_MEMORY = ("/tmp", "/dev/shm")
"""The sandbox's own folders that notebooks can write to."""


def main(listening: socket.socket, statements: str, original: str = "", *writable: str) -> None:
    """Serve until this process is killed or the sandbox cannot be reset."""
    try:
        preload(statements)
    except Exception as error:
        traceback.print_exc()
        connection, _ = listening.accept()
        connection.sendall(f"{type(error).__name__}: {error}\n".encode())
        sys.exit(1)
    serve_submission(listening, original, *writable)


def preload(statements: str) -> None:
    """Execute the statements that import what the notebooks import."""
    exec(statements, {})
    gc.freeze()  # a collection in a kernel would touch, and so copy, memory that all kernels share
    gc.enable()


def serve_submission(listening: socket.socket, original: str = "", *writable: str) -> None:
    """Fork the kernels of one submission."""
    become_subreaper()
    while True:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            request = json.loads(connection.makefile().readline() or "{}")
            if not request and writable and not reset_sandbox(*writable):
                sys.exit("files left by a notebook cannot be deleted")
            reply = run_kernel(request, connection, listening, original) if request else "ready"
            connection.sendall(f"{reply}\n".encode())


def reset_sandbox(writable: str, *folders: str) -> bool:
    """Delete the files that a notebook has left, and make its empty folders; return whether that succeeded."""
    find = ["find", writable, *IN_MEMORY, "-xdev"]  # not the mounts in there
    restore_permissions = ["-type", "d", "!", "-perm", "-u=rwx", "-execdir", "chmod", "u+rwx", "{}", ";"]
    for action in (restore_permissions, ["-mindepth", "1", "-delete"]):
        subprocess.run([*find, *action], stderr=subprocess.DEVNULL)
    try:
        for folder in (os.environ["HOME"], *folders):
            os.makedirs(folder)
        return os.path.ismount(writable)  # unless a folder that it lies in was moved
    except OSError:
        return False


def run_kernel(request: dict, connection: socket.socket, listening: socket.socket, original: str) -> int:
    """Run a kernel until it exits or the client disconnects; return its exit code."""
    kernel = os.fork()
    if kernel == 0:
        connection.close()
        listening.close()
        become_kernel(request, original)
    code = wait_for_exit(kernel, connection)
    kill_descendants(kernel)
    return code


def become_kernel(request: dict, original: str) -> None:
    """Become a kernel, in its folder with a copy of the files in `original`, if any. Does not return."""
    code = 1
    try:
        die_with_parent()
        os.setsid()  # an interrupt is for this process and its children
        os.environ.clear()
        os.environ.update(request["environment"])
        if original:
            shutil.copytree(original, request["folder"], copy_function=shutil.copyfile, dirs_exist_ok=True)
        os.chdir(request["folder"])
        random.seed()
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()
        IPKernelApp.launch_instance(argv=request["arguments"])
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


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:])
