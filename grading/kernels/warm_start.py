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
import tempfile
from dataclasses import dataclass
from pathlib import Path

from grading import folders
from grading.errors import GradingError
from grading.kernels import sandbox
from grading.kernels.fork_server_client import ForkedProcess
from grading.kernels.limits import Limits

PROGRAM = Path(__file__).with_name("kernel_server.py")
IMPORTED = Path(__file__).with_name("process_control.py")
SETTINGS = "settings.json"
"""How to run kernels, in the worker's folder."""
SOCKET = "requests"
"""The kernel server's socket, in the worker's folder, which the submission cannot see."""
PROCESS = "process.json"
"""The kernel server's process id and the folder it copies the submission to, for `read_process`."""
SOCKETS = "run"
"""The folder of the kernels' connection files and sockets."""
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
        folders.clear(self.folder / SOCKETS)

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
        for old in self.folder.glob("copy-*"):
            folders.remove(old)
        (self.folder / SOCKETS).mkdir(exist_ok=True)
        self.inside.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(prefix="copy-", dir=self.folder)) if self.settings.sandboxed else None
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.folder / SOCKET))
            listening.listen()
            prefix, arguments = self._sandbox(copy) if copy else ([], [])
            self.process = self._fork(prefix, arguments, listening) or self._run(prefix, arguments, listening)
        about = {"process": self.process.pid, "copy": str(copy or "")}
        (self.folder / PROCESS).write_text(json.dumps(about), encoding="utf-8")

    def _sandbox(self, copy: Path) -> tuple[list[str], list[str]]:
        """The command line that creates the sandbox, and the kernel server's arguments about it."""
        writable = {copy: self.inside, self.folder / SOCKETS: self.folder / SOCKETS}
        readable = {PROGRAM: PROGRAM, IMPORTED: IMPORTED, self.inside: ORIGINAL}
        return sandbox.command(writable, dict(os.environ), readable), [str(ORIGINAL), str(self.inside)]

    def _fork(self, prefix: list[str], arguments: list[str], listening: socket.socket) -> ForkedProcess | None:
        """Have the worker's fork server fork it, which takes no time; None where that is not possible."""
        if prefix and self.settings.fork_server:
            with contextlib.suppress(OSError, ValueError):
                request = {"sandbox": prefix, "arguments": arguments}
                process = ForkedProcess(self.settings.fork_server, request, listening, SECONDS_TO_START)
                self.settings.limits.apply(process.server)
                return process
        return None

    def _run(self, prefix: list[str], arguments: list[str], listening: socket.socket) -> subprocess.Popen:
        """Start it as a program, which begins with its imports."""
        program = [sys.executable, str(PROGRAM), str(listening.fileno()), self.settings.preload]
        return subprocess.Popen(
            [*prefix, *program, *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
            preexec_fn=self.settings.limits.apply,
        )


def send_request(folder: Path, request: dict, seconds: float | None = None) -> socket.socket:
    """Send a request to the kernel server of a worker's folder; return the connection from which to read the reply."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    connection.connect(str(folder / SOCKET))
    connection.sendall(json.dumps(request).encode() + b"\n")
    return connection


def read_process(folder: Path) -> tuple[int, Path | None]:
    """Read the kernel server's process id and, in a sandbox, the copy of the submission that kernels write to."""
    about = json.loads((folder / PROCESS).read_text(encoding="utf-8"))
    return about["process"], Path(about["copy"]) if about["copy"] else None
