"""The client of a worker's fork server: start fork_server.py, and have it fork kernel servers.

A fork server lives for one run of `make grade`, since the checks may have changed by the next.
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
IMPORTED = ("kernel_server.py", "limits.py", "namespaces.py", "process_control.py", "system_calls.py")
"""The files that the program imports."""


class ForkServer:
    """A process with preloaded imports that forks kernel servers."""

    def __init__(self, scratch: Path, statements: str, environment: dict[str, str]) -> None:
        """Start it without waiting for its imports. The files of all sandboxes must lie in `scratch`."""
        self.folder = tempfile.TemporaryDirectory(prefix="fork-server-", dir=scratch)
        self.socket = Path(self.folder.name) / "requests"
        files = [PROGRAM, *map(PROGRAM.with_name, IMPORTED)]
        prefix = sandbox.command_for_nested_sandboxes(environment, {path: path for path in (scratch, *files)})
        with socket.socket(socket.AF_UNIX) as listening, open(self.socket.with_name("log"), "wb") as log:
            listening.bind(str(self.socket))
            listening.listen()
            self.process = subprocess.Popen(
                [*prefix, sys.executable, str(PROGRAM), str(listening.fileno()), statements],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listening.fileno()],
            )

    def stop(self) -> None:
        """Stop it; the kernel servers that it has forked keep running."""
        self.process.communicate()  # closes its standard input, at which it exits
        self.folder.cleanup()


class ForkedProcess:
    """A kernel server forked into a sandbox, with the part of `subprocess.Popen`'s interface that is needed."""

    def __init__(self, fork_server: str, request: dict, listening: socket.socket, seconds: float) -> None:
        """Request it at a fork server's socket. Raises `OSError` or `ValueError` if that fails."""
        with contextlib.ExitStack() as on_error:
            self.connection = on_error.enter_context(socket.socket(socket.AF_UNIX))
            self.connection.settimeout(seconds)
            self.connection.connect(fork_server)
            line = json.dumps(request).encode() + b"\n"
            # Descriptors travel with the first byte: the socket, and our standard output, which is the log.
            socket.send_fds(self.connection, [line[:1]], [listening.fileno(), 1])
            self.connection.sendall(line[1:])
            with self.connection.makefile() as stream:
                reply = json.loads(stream.readline())
            if "error" in reply:
                raise ChildProcessError(reply["error"])
            self.pid = reply["parent"]
            """The process whose descendants are everything that runs in the sandbox."""
            self.server = reply["server"]
            """The process id of the kernel server, a child of `pid`."""
            on_error.pop_all()

    def kill(self) -> None:
        """Kill everything in the sandbox."""
        with contextlib.suppress(OSError):  # it has exited already
            self.connection.shutdown(socket.SHUT_WR)

    def wait(self) -> None:
        """Return when everything in the sandbox has exited."""
        with self.connection, contextlib.suppress(OSError):
            self.connection.recv(1)


_lock = threading.Lock()
_current: tuple[tuple, ForkServer] | None = None


def get_fork_server(run: str, scratch: Path, statements: str, environment: dict[str, str]) -> ForkServer:
    """Return this worker's fork server for a run, started on demand in place of one for another run."""
    global _current
    wanted = (run, scratch, statements)
    with _lock:
        if _current is None or _current[0] != wanted or _current[1].process.poll() is not None:
            stop_fork_server()
            _current = wanted, ForkServer(scratch, statements, environment)
        return _current[1]


def stop_fork_server() -> None:
    """Stop this worker's fork server, if it has one."""
    global _current
    if _current:
        _current[1].stop()
    _current = None
