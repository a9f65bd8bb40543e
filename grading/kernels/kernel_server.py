"""A process that has imported what the notebooks import, and forks a kernel for each notebook of one submission.

    python kernel_server.py FILE_DESCRIPTOR STATEMENTS [ORIGINAL COPY]

It begins inside the submission's sandbox, before any of the student's code runs there, and serves this submission only.
The statements are run once. Then it waits at the socket for orders, each one line of JSON: `{}` asks it to get ready
for the next notebook; with the arguments, environment and folder of a kernel, it forks one, and answers with its exit
code.

In a sandbox, getting ready is to remove all that the notebook before has left there. ORIGINAL is nbgrader's folder for
the submission, which can only be read; every kernel gets what is in it as files of its own in COPY, its current folder.
The copy is made in here because a student's code could leave links in COPY, which lead nowhere from here.

It knows nothing of the other modules here: none of them can be seen from inside the sandbox.
"""

import contextlib
import ctypes
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

if __name__ == "__main__":
    del sys.path[0]  # this file's folder, which is not for notebooks to import from
    gc.disable()  # until all is imported: a fifth of the time would go into looking for garbage where there is none

import ipykernel.debugger  # noqa: F401  which every kernel imports
from ipykernel.kernelapp import IPKernelApp

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOOK_EVERY_SECONDS = 0.05
IN_MEMORY = ("/tmp", "/dev/shm")
"""The sandbox's own folders that notebooks can write to."""


def main(listening: socket.socket, statements: str, original: str = "", copy: str = "") -> None:
    """Serve until somebody ends this process, or it cannot get ready for a notebook."""
    prepare(statements)
    serve_submission(listening, original, copy)


def prepare(statements: str) -> None:
    """Import what the notebooks import, as the statements say."""
    try:
        exec(statements, {})
    except Exception:
        traceback.print_exc()  # the notebooks will say it again, where it can be seen
    gc.freeze()  # so that no kernel looks through what it shares with the others, which would make it a copy
    gc.enable()


def serve_submission(listening: socket.socket, original: str = "", copy: str = "") -> None:
    """Fork the kernels of one submission."""
    inherit_orphans()
    while True:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            order = json.loads(connection.makefile().readline() or "{}")
            if not order and copy and not clear(copy):
                sys.exit("what a notebook has left cannot be removed")
            answer = serve(order, connection, listening, original) if order else "ready"
            connection.sendall(f"{answer}\n".encode())


def clear(copy: str) -> bool:
    """Remove what a notebook has left in the sandbox, and make its home anew; return whether that could be done."""
    remains = ["find", copy, *IN_MEMORY, "-xdev"]  # nothing of what the sandbox shows in /tmp
    without_rights = ["-type", "d", "!", "-perm", "-u=rwx", "-execdir", "chmod", "u+rwx", "{}", ";"]
    for what_to_do in (without_rights, ["-mindepth", "1", "-delete"]):
        subprocess.run([*remains, *what_to_do], stderr=subprocess.DEVNULL)
    try:
        os.mkdir(os.environ["HOME"])
        return not os.listdir(copy)
    except OSError:
        return False


def serve(order: dict, connection: socket.socket, listening: socket.socket, original: str) -> int:
    """Run a kernel to its end, or until nobody waits for it any more; return its exit code."""
    kernel = os.fork()
    if kernel == 0:
        connection.close()
        listening.close()
        run_kernel(order, original)
    code = wait(kernel, connection)
    end_family(kernel)
    return code


def run_kernel(order: dict, original: str) -> None:
    """Become a kernel, in its folder with files of its own if there is an original of these. Does not return."""
    code = 1
    try:
        die_with_parent()
        os.setsid()  # an interrupt is for this process and its children
        os.environ.clear()
        os.environ.update(order["environment"])
        if original:
            shutil.copytree(original, order["folder"], copy_function=shutil.copyfile, dirs_exist_ok=True)
        os.chdir(order["folder"])
        random.seed()
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()
        IPKernelApp.launch_instance(argv=order["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(kernel: int, connection: socket.socket) -> int:
    """Wait for a kernel's end; end it when the other side has hung up."""
    while True:
        ended, status = os.waitpid(kernel, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([connection], [], [], LOOK_EVERY_SECONDS)[0]:
            os.kill(kernel, signal.SIGKILL)


def die_with_parent() -> None:
    """On Linux, have the system end this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def inherit_orphans() -> None:
    """On Linux, become the parent of processes whose parent ends, so that none outlives its notebook."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_family(kernel: int) -> None:
    """End whatever a kernel has left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(kernel, signal.SIGKILL)
    while family := list(children()):
        for process in family:
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
