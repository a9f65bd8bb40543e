"""Kernels that start at once: one process has imported what the notebooks import, and forks them.

A submission has a process of its own for that, in a sandbox of its own: nothing is shared between students. What the
process does is in kernel_server.py; here it is started, and asked for kernels.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from grading import sandbox
from grading.limits import Limits

PROGRAM = Path(__file__).with_name("kernel_server.py")
SETTINGS = "settings.json"
"""How to run kernels, in the worker's folder."""
SOCKET = "orders"
"""The socket at which the process takes orders, in the worker's folder, out of sight of the submission."""
NOTES = "process.json"
"""What those who give orders must know of the process."""
SOCKETS = "run"
"""The folder of the kernels' connection files and sockets."""
SECONDS_TO_START = 300


@dataclass(frozen=True)
class Settings:
    """How to run kernels."""

    limits: Limits
    """What one notebook may use."""
    sandboxed: bool

    def write(self, folder: Path) -> None:
        """Leave the settings in a worker's folder."""
        (folder / SETTINGS).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def read_settings(folder: Path) -> Settings:
    """The settings in a worker's folder."""
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    return Settings(Limits(**settings["limits"]), settings["sandboxed"])


class KernelServer:
    """The process for one submission; whenever it is gone, a new one can be had."""

    def __init__(self, folder: Path, inside: Path, statements: str) -> None:
        self.folder = folder
        self.inside = inside
        """What the submission's folder is called inside the sandbox."""
        self.statements = statements
        """Python, to be run before any notebook."""
        self.settings = read_settings(folder)
        self.process: subprocess.Popen | None = None

    def ensure(self) -> None:
        """Return when it is ready, having started it where it does not run."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        with order(self.folder, {}) as connection:
            connection.settimeout(SECONDS_TO_START)
            connection.recv(16)

    def end(self) -> None:
        """End it, and with it all of its kernels."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def _start(self) -> None:
        (self.folder / SOCKET).unlink(missing_ok=True)
        (self.folder / SOCKETS).mkdir(exist_ok=True)
        copy = Path(tempfile.mkdtemp(prefix="copy-", dir=self.folder)) if self.settings.sandboxed else None
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.folder / SOCKET))
            listening.listen()
            command = [sys.executable, str(PROGRAM), str(listening.fileno()), self.statements]
            if copy:
                writable = [(copy, self.inside), (self.folder / SOCKETS, self.folder / SOCKETS)]
                command = sandbox.command(Path("/"), writable, dict(os.environ), [PROGRAM]) + command
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
                preexec_fn=self.settings.limits.set_for_this_process,
            )
        notes = {"process": self.process.pid, "copy": str(copy or "")}
        (self.folder / NOTES).write_text(json.dumps(notes), encoding="utf-8")


def order(folder: Path, what: dict) -> socket.socket:
    """Send an order to the process of the worker's folder; the answer can be read from the connection."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(folder / SOCKET))
    connection.sendall(json.dumps(what).encode() + b"\n")
    return connection


def read_notes(folder: Path) -> tuple[int, Path | None]:
    """The process, and the copy of the submission that kernels write to, which only a sandbox has."""
    notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    return notes["process"], Path(notes["copy"]) if notes["copy"] else None


def renew_copy(copy: Path, original: Path) -> bool:
    """Make the copy what the original is: nbgrader's own folder, with graded notebooks, must not be written.

    Return whether that could be done. What a notebook has made impossible to remove may be a link, through which a copy
    would be written to any place; then there is none.
    """
    for path in copy.iterdir():
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if any(copy.iterdir()):
        return False
    shutil.copytree(original, copy, dirs_exist_ok=True)
    for place, _, files in os.walk(copy):
        for name in files:
            os.chmod(os.path.join(place, name), 0o644)
    return True
