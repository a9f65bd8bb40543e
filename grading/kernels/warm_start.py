"""The client of a submission's kernel server, by which kernels start warm: forked from a process with imports done.

Each submission has a kernel server of its own, in a sandbox of its own: nothing is shared between students. Its program
is kernel_server.py; this module starts it, through the worker's fork server where there is one, and sends it requests.
"""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from grading import folders
from grading.errors import GradingError
from grading.kernels import sandbox
from grading.kernels.fork_server_client import ForkedProcess
from grading.kernels.limits import Limits
from grading.kernels.system_calls import filtered

PROGRAM = Path(__file__).with_name("kernel_server.py")
IMPORTED = Path(__file__).with_name("process_control.py")
SETTINGS = "settings.json"
"""How to run kernels, in the worker's folder."""
SOCKET = "requests"
"""The kernel server's socket, in the worker's folder, which the submission cannot see."""
PROCESS = "process"
"""The kernel server's process id, in the worker's folder."""
RUNTIME = "run"
"""The folder of the kernels' connection files, in the worker's folder; a sandbox can read it."""
SOCKETS = "ipc"
"""The kernels' sockets, in the worker's folder. Those of a sandbox lie in its own memory, and this is a link there."""
ORIGINAL = Path("/submission")
"""Where nbgrader's folder for the submission is mounted, read-only, in the sandbox. Each kernel gets a copy of it."""
READY = "ready"
"""The kernel server's reply once it can fork a kernel."""
SECONDS_TO_START = 300
SECONDS_TO_RESET = 10


@dataclass(frozen=True)
class Settings:
    """How to run kernels."""

    limits: Limits
    """What one notebook may use."""
    sandboxed: bool
    preload: str = ""
    """Python statements to be executed before any notebook."""
    fork_server: str = ""
    """The socket of the worker's fork server, if it has one."""

    def write(self, folder: Path) -> None:
        """Write the settings to a worker's folder."""
        (folder / SETTINGS).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def read_settings(folder: Path) -> Settings:
    """Read the settings in a worker's folder."""
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    return Settings(**settings | {"limits": Limits(**settings["limits"])})


class KernelServer:
    """The process that forks one submission's kernels, restarted whenever it is gone."""

    def __init__(self, folder: Path, inside: Path) -> None:
        self.folder = folder
        self.inside = inside
        """nbgrader's folder for the submission; in the sandbox, its copy has the same path."""
        self.settings = read_settings(folder)
        self.process: subprocess.Popen | ForkedProcess | None = None

    def ensure_ready(self) -> None:
        """Have it reset for the next notebook; start a new one where it is gone or does not answer.

        Raises `GradingError` or `OSError` if that fails.
        """
        if self.process is None or self._reset(SECONDS_TO_RESET) != READY:
            self.stop()
            self._start()
            if (reply := self._reset(SECONDS_TO_START)) != READY:
                raise GradingError(f"the kernels' preload failed: {reply or 'its process exited'}")
            if self.settings.sandboxed:
                sockets = self.folder / SOCKETS
                sockets.symlink_to(f"/proc/{self._process_inside()}/root{sockets}")
        folders.clear(self.folder / RUNTIME)

    def stop(self) -> None:
        """Kill it and all of its kernels."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def _reset(self, seconds: float) -> str:
        """Return its reply, or why there is none."""
        try:
            with send_request(self.folder, {}, seconds) as connection, connection.makefile() as stream:
                return stream.readline().strip()
        except OSError as error:
            return str(error)

    def _start(self) -> None:
        (self.folder / SOCKET).unlink(missing_ok=True)
        folders.remove(self.folder / SOCKETS)
        if not self.settings.sandboxed:
            (self.folder / SOCKETS).mkdir()
        (self.folder / RUNTIME).mkdir(exist_ok=True)
        self.inside.mkdir(parents=True, exist_ok=True)
        sandbox.show(self.folder)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.folder / SOCKET))
            listening.listen()
            prefix, arguments = self._sandbox() if self.settings.sandboxed else ([], [])
            self.process = self._fork(prefix, arguments, listening) or self._run(prefix, arguments, listening)
        (self.folder / PROCESS).write_text(str(self.process.pid), encoding="utf-8")

    def _sandbox(self) -> tuple[list[str], list[str]]:
        """The command line that creates the sandbox, and the kernel server's arguments about it."""
        runtime = self.folder / RUNTIME
        readable = {PROGRAM: PROGRAM, IMPORTED: IMPORTED, self.inside: ORIGINAL, runtime: runtime}
        arguments = [ORIGINAL, self.folder, self.inside, self.folder / SOCKETS]
        return sandbox.command([self.folder], dict(os.environ), readable), [str(argument) for argument in arguments]

    def _process_inside(self) -> int:
        """The id of a process whose root is that of the sandbox."""
        if isinstance(self.process, ForkedProcess):
            return self.process.server
        assert self.process
        return psutil.Process(self.process.pid).children(recursive=True)[-1].pid

    def _fork(self, prefix: list[str], arguments: list[str], listening: socket.socket) -> ForkedProcess | None:
        """Have the worker's fork server fork it, which takes no time; None where that is not possible."""
        if prefix and self.settings.fork_server:
            with contextlib.suppress(OSError, ValueError):
                limits = dataclasses.asdict(self.settings.limits)
                request = {"sandbox": prefix, "limits": limits, "arguments": arguments}
                return ForkedProcess(self.settings.fork_server, request, listening, SECONDS_TO_START)
        return None

    def _run(self, prefix: list[str], arguments: list[str], listening: socket.socket) -> subprocess.Popen:
        """Start it as a program, which begins with its imports."""
        program = [sys.executable, str(PROGRAM), str(listening.fileno()), self.settings.preload]
        descriptors = [listening.fileno()]
        with contextlib.ExitStack() as stack:
            if prefix:
                prefix, system_calls = stack.enter_context(filtered(prefix))
                readable = {path: path for path in (PROGRAM, IMPORTED, self.folder)}
                prefix = [*sandbox.as_other_user(dict(os.environ), readable), *prefix]
                descriptors.append(system_calls)
            return subprocess.Popen(
                [*prefix, *program, *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                preexec_fn=self.settings.limits.apply,
            )


def send_request(folder: Path, request: dict, seconds: float | None = None) -> socket.socket:
    """Send a request to the kernel server of a worker's folder; return the connection from which to read the reply."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    connection.connect(str(folder / SOCKET))
    connection.sendall(json.dumps(request).encode() + b"\n")
    return connection


def read_process(folder: Path) -> int:
    """Read the kernel server's process id."""
    return int((folder / PROCESS).read_text(encoding="utf-8"))
