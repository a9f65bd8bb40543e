"""Kernels that start at once: one process has imported what the notebooks import, and forks them.

A submission has a process of its own for that, in a sandbox of its own: nothing is shared between students. What the
process does is in kernel_server.py; here it is started, by the worker's fork server where there is one, and asked for
kernels.
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
from grading.kernels import forks, sandbox
from grading.kernels.limits import Limits

PROGRAM = Path(__file__).with_name("kernel_server.py")
SETTINGS = "settings.json"
"""How to run kernels, in the worker's folder."""
SOCKET = "orders"
"""The socket at which the process takes orders, in the worker's folder, out of sight of the submission."""
NOTES = "process.json"
"""What those who give orders must know of the process."""
SOCKETS = "run"
"""The folder of the kernels' connection files and sockets."""
ORIGINAL = Path("/submission")
"""Where nbgrader's folder for the submission can be read inside the sandbox. Each kernel gets a copy of it."""
SECONDS_TO_START = 300
SECONDS_TO_ANSWER = 10
"""What it may take to get ready again, once it has been ready."""


@dataclass(frozen=True)
class Settings:
    """How to run kernels."""

    limits: Limits
    """What one notebook may use."""
    sandboxed: bool
    preload: str = ""
    """Python, to be run before any notebook."""
    fork_server: str = ""
    """The socket of the worker's fork server, if it has one."""

    def write(self, folder: Path) -> None:
        """Leave the settings in a worker's folder."""
        (folder / SETTINGS).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def read_settings(folder: Path) -> Settings:
    """The settings in a worker's folder."""
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    return Settings(**settings | {"limits": Limits(**settings["limits"])})


class KernelServer:
    """The process for one submission; whenever it is gone, a new one can be had."""

    def __init__(self, folder: Path, inside: Path) -> None:
        self.folder = folder
        self.inside = inside
        """nbgrader's folder for the submission; inside the sandbox, its copy is called the same."""
        self.settings = read_settings(folder)
        self.process: subprocess.Popen | forks.Fork | None = None

    def ensure(self) -> None:
        """Return when it is ready for the next notebook; where it is gone, or does not answer, with a new one."""
        if self.process is None or not self._is_ready(SECONDS_TO_ANSWER):
            self.end()
            self._start()
            self._is_ready(SECONDS_TO_START)
        folders.clear(self.folder / SOCKETS)

    def end(self) -> None:
        """End it, and with it all of its kernels."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def _is_ready(self, seconds: float) -> bool:
        try:
            with order(self.folder, {}, seconds) as connection:
                return bool(connection.recv(16))
        except OSError:
            return False

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
            around, arguments = self._sandbox(copy) if copy else ([], [])
            self.process = self._fork(around, arguments, listening) or self._run(around, arguments, listening)
        notes = {"process": self.process.pid, "copy": str(copy or "")}
        (self.folder / NOTES).write_text(json.dumps(notes), encoding="utf-8")

    def _sandbox(self, copy: Path) -> tuple[list[str], list[str]]:
        """The command line that makes the sandbox, and what the process must know of it."""
        writable = {copy: self.inside, self.folder / SOCKETS: self.folder / SOCKETS}
        to_read = {PROGRAM: PROGRAM, self.inside: ORIGINAL}
        return sandbox.command(writable, dict(os.environ), to_read), [str(ORIGINAL), str(self.inside)]

    def _fork(self, around: list[str], arguments: list[str], listening: socket.socket) -> forks.Fork | None:
        """Have the worker's fork server start it, which takes no time; not everywhere is that possible."""
        if around and self.settings.fork_server:
            with contextlib.suppress(OSError, ValueError):
                order = {"sandbox": around, "arguments": arguments}
                process = forks.Fork(self.settings.fork_server, order, listening, SECONDS_TO_START)
                self.settings.limits.set_for(process.server)
                return process
        return None

    def _run(self, around: list[str], arguments: list[str], listening: socket.socket) -> subprocess.Popen:
        """Start it as a program, which begins with its imports."""
        program = [sys.executable, str(PROGRAM), str(listening.fileno()), self.settings.preload]
        return subprocess.Popen(
            [*around, *program, *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
            preexec_fn=self.settings.limits.set_for,
        )


def order(folder: Path, what: dict, seconds: float | None = None) -> socket.socket:
    """Send an order to the process of the worker's folder; the answer can be read from the connection in some time."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    connection.connect(str(folder / SOCKET))
    connection.sendall(json.dumps(what).encode() + b"\n")
    return connection


def read_notes(folder: Path) -> tuple[int, Path | None]:
    """The process, and the copy of the submission that kernels write to, which only a sandbox has."""
    notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    return notes["process"], Path(notes["copy"]) if notes["copy"] else None
