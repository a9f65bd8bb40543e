"""A worker's fork server, whose program is fork_server.py: start it, and have it fork.

It is made for one run of `make grade`: the next one may find the checks changed.
"""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from grading.kernels import sandbox

PROGRAM = Path(__file__).with_name("fork_server.py")
BESIDE = ("kernel_server.py", "namespaces.py")
"""The files that the program imports."""


class ForkServer:
    """The process that has imported what the notebooks import."""

    def __init__(self, scratch: Path, statements: str, environment: dict[str, str]) -> None:
        """Start it; whoever needs a fork waits until it is ready. All sandboxes' files must lie in `scratch`."""
        self.folder = tempfile.TemporaryDirectory(prefix="fork-server-", dir=scratch)
        self.socket = Path(self.folder.name) / "orders"
        files = [PROGRAM, *map(PROGRAM.with_name, BESIDE)]
        around = sandbox.command_for_more({scratch: scratch}, environment, {file: file for file in files})
        with socket.socket(socket.AF_UNIX) as listening, open(self.socket.with_name("log"), "wb") as log:
            listening.bind(str(self.socket))
            listening.listen()
            self.process = subprocess.Popen(
                [*around, sys.executable, str(PROGRAM), str(listening.fileno()), statements],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listening.fileno()],
            )

    def end(self) -> None:
        """Have it end; what it has forked goes on."""
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


class Fork:
    """What a fork server has forked into a sandbox, as far as it is like a process that was started."""

    def __init__(self, fork_server: str, order: dict, listening: socket.socket, seconds: float) -> None:
        """Order it. Raises `OSError` or `ValueError` where that is not possible."""
        with contextlib.ExitStack() as unless_it_works:
            self.connection = unless_it_works.enter_context(socket.socket(socket.AF_UNIX))
            self.connection.settimeout(seconds)
            self.connection.connect(fork_server)
            line = json.dumps(order).encode() + b"\n"
            # Descriptors travel with the first byte: the socket, and our standard output, which is the log.
            socket.send_fds(self.connection, [line[:1]], [listening.fileno(), 1])
            self.connection.sendall(line[1:])
            with self.connection.makefile() as stream:
                answer = json.loads(stream.readline())
            if "error" in answer:
                raise ChildProcessError(answer["error"])
            self.pid = answer["family"]
            """The process whose descendants are all that runs in the sandbox."""
            self.server = answer["process"]
            """The one among them that was forked into it."""
            unless_it_works.pop_all()

    def kill(self) -> None:
        """Have everything in the sandbox ended."""
        with contextlib.suppress(OSError):  # it has ended already
            self.connection.shutdown(socket.SHUT_WR)

    def wait(self) -> None:
        """Return when that is done."""
        with self.connection, contextlib.suppress(OSError):
            self.connection.recv(1)


_lock = threading.Lock()
_current: tuple[tuple, ForkServer] | None = None


def fork_server_for(run: str, scratch: Path, statements: str, environment: dict[str, str]) -> ForkServer:
    """This worker's fork server for a run, started if there is none; that of another run is ended."""
    global _current
    wanted = (run, scratch, statements)
    with _lock:
        if _current is None or _current[0] != wanted or _current[1].process.poll() is not None:
            end_current()
            _current = wanted, ForkServer(scratch, statements, environment)
        return _current[1]


def end_current() -> None:
    """End this worker's fork server, if it has one."""
    global _current
    if _current:
        _current[1].end()
    _current = None
