"""Kernels that start warm: forked from a process in the sandbox with imports done, and killed if they exceed a limit.

Each submission has a kernel server of its own, in a sandbox of its own: nothing is shared between students. Its program
is kernel_server.py. nbgrader's process owns it, as `KernelServer`, and jupyter_client starts, polls and kills its
kernels as `WarmKernel`, through its hook for this, a kernel provisioner.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import psutil
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning import KernelProvisionerBase, KernelProvisionerFactory

from grading import folders
from grading.errors import GradingError
from grading.kernels import control_groups, sandbox
from grading.kernels.limits import Limits, Usage
from grading.kernels.system_calls import filtered

PROGRAM = Path(__file__).with_name("kernel_server.py")
NAME = "warm"
"""The name under which Jupyter knows these kernels, and their provisioner, in nbgrader's process."""
SOCKET = "requests"
"""The kernel server's socket, in the worker's folder, which the submission cannot see."""
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
POLLS_PER_SECOND = 5
"""How often a kernel's limits are checked."""


class KernelServer:
    """The process that forks one submission's kernels, restarted whenever it is gone."""

    def __init__(self, folder: Path, inside: Path, limits: Limits, sandboxed: bool, preload: str = "") -> None:
        """`folder` is the worker's private one, `preload` the name of a module to import before any notebook."""
        self.folder = folder
        self.inside = inside
        """nbgrader's folder for the submission; in the sandbox, its copy has the same path."""
        self.limits, self.sandboxed, self.preload = limits, sandboxed, preload
        self.excess = ""
        """Which limit the last kernel exceeded, if any."""
        self.process: subprocess.Popen | None = None
        """The process whose descendants are everything that runs in the sandbox."""
        self.control_group: Path | None = None

    def ensure_ready(self) -> None:
        """Have it reset for the next notebook; start a new one where it is gone or does not answer.

        Raises `GradingError` or `OSError` if that fails.
        """
        self.excess = ""
        if self.process is None or self._reset(SECONDS_TO_RESET) != READY:
            self.stop()
            self._start()
            if (reply := self._reset(SECONDS_TO_START)) != READY:
                raise GradingError(f"the kernels' preload failed: {reply or 'its process exited'}")
            if self.sandboxed:
                sockets = self.folder / SOCKETS
                sockets.symlink_to(f"/proc/{self._process_inside()}/root{sockets}")
        folders.clear(self.folder / RUNTIME)

    def stop(self) -> None:
        """Kill it and all of its kernels."""
        if self.process:
            self.process.kill()
            self.process.wait()
            control_groups.remove(self.control_group)

    def request(self, arguments: list[str], seconds: float | None = None) -> socket.socket:
        """Request a kernel with these arguments, or a reset without any; return the connection with the reply."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(seconds)
        connection.connect(str(self.folder / SOCKET))
        connection.sendall(json.dumps(arguments).encode() + b"\n")
        return connection

    def _reset(self, seconds: float) -> str:
        """Return its reply, or why there is none."""
        try:
            with self.request([], seconds) as connection, connection.makefile() as stream:
                return stream.readline().strip()
        except OSError as error:
            return str(error)

    def _start(self) -> None:
        (self.folder / SOCKET).unlink(missing_ok=True)
        folders.remove(self.folder / SOCKETS)
        if not self.sandboxed:
            (self.folder / SOCKETS).mkdir()
        (self.folder / RUNTIME).mkdir(exist_ok=True)
        self.inside.mkdir(parents=True, exist_ok=True)
        sandbox.show(self.folder)
        environment = os.environ | {"NBGRADER_EXECUTION": "autograde"}
        environment.pop("PYTHONSAFEPATH", None)  # a notebook may import what lies beside it
        file = self._preloaded_file()
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(self.folder / SOCKET))
            listening.listen()
            descriptors = [listening.fileno()]
            prefix: list[str] = []
            sandboxing: list[Path] = []
            if self.sandboxed:
                prefix, system_calls = stack.enter_context(filtered(self._sandbox(environment, file)))
                descriptors.append(system_calls)
                sandboxing = [ORIGINAL, self.folder, self.folder / SOCKETS]
            command = [sys.executable, PROGRAM, listening.fileno(), self.preload, file or "", self.inside]
            self.process = subprocess.Popen(
                [*prefix, *map(str, [*command, *sandboxing])],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                preexec_fn=self.limits.apply,
            )
        self.control_group = control_groups.confine(self.process.pid, self.limits, sandbox.FILE_BYTES)

    def _preloaded_file(self) -> Path | None:
        """Return the file of the module to be preloaded. Raises `GradingError` if there is none."""
        if not self.preload:
            return None
        spec = importlib.util.find_spec(self.preload)
        if spec is None or spec.origin is None:
            raise GradingError(f"the kernels' preload failed: there is no module {self.preload}")
        return Path(spec.origin)

    def _sandbox(self, environment: dict[str, str], file: Path | None) -> list[str]:
        """Return the command line that creates the sandbox."""
        runtime = self.folder / RUNTIME
        ours = {path: path for path in (PROGRAM, file) if path}
        inner = sandbox.command([self.folder], environment, {**ours, self.inside: ORIGINAL, runtime: runtime})
        return [*sandbox.as_other_user(environment, {**ours, self.folder: self.folder}), *inner]

    def _process_inside(self) -> int:
        """The id of a process whose root is that of the sandbox."""
        assert self.process
        return psutil.Process(self.process.pid).children(recursive=True)[-1].pid


class WarmKernel(KernelProvisionerBase):
    """A kernel of this process's kernel server, with a thread that watches its limits."""

    server: ClassVar[KernelServer]
    connection: socket.socket | None = None
    exit_code: int | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        manager: Any = self.parent
        manager.write_connection_file()
        self.connection_info = manager.get_connection_info()
        command = manager.format_kernel_cmd(extra_arguments=kwargs.pop("extra_arguments", []))
        return await super().pre_launch(cmd=command, **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        self.exit_code = None
        sandbox.show(self.server.folder)
        self.connection = self.server.request(cmd[1:])
        self.thread = threading.Thread(target=self._watch, args=[self.connection], daemon=True)
        self.thread.start()
        return self.connection_info

    def _watch(self, connection: socket.socket) -> None:
        """Wait until the kernel exits; kill it when it exceeds a limit, or when this fails for any reason."""
        server, reply = self.server, b""
        assert server.process
        try:
            usage = Usage(server.process.pid, server.limits, control_groups.watch(server.process.pid, server.limits))
            while not server.excess and not select.select([connection], [], [], 1 / POLLS_PER_SECOND)[0]:
                server.excess = usage.excess()
            server.excess = server.excess or usage.exceeded()
        finally:
            if server.excess and server.sandboxed:
                server.process.kill()  # and with it the whole sandbox
            disconnect(connection)
            with contextlib.suppress(OSError):
                reply = connection.recv(16).strip()
            self.exit_code = int(reply) if reply.removeprefix(b"-").isdigit() else 1

    @property
    def has_process(self) -> bool:
        return self.connection is not None

    async def poll(self) -> int | None:
        return self.exit_code

    async def wait(self) -> int | None:
        while self.exit_code is None:
            await asyncio.sleep(0.01)
        return self.exit_code

    async def send_signal(self, signum: int) -> None:
        """Kill the kernel: no other signal is sent, for an interrupt is a message to the kernel."""
        if self.connection:
            disconnect(self.connection)

    async def kill(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        """Return when the kernel has exited; a kernel server that does not kill it is killed too."""
        if self.connection:
            await self.kill()
            self.thread.join(SECONDS_TO_RESET)
            if self.thread.is_alive():
                self.server.stop()
                self.thread.join()
            self.connection.close()
            self.connection = None


def disconnect(connection: socket.socket) -> None:
    """Have the kernel server kill the kernel, if that has not exited, and reply."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def provide(server: KernelServer) -> None:
    """Have Jupyter, in this process, start the kernels called `NAME` from this server."""
    WarmKernel.server = server
    group = KernelProvisionerFactory.GROUP_NAME
    KernelProvisionerFactory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:{WarmKernel.__name__}", group)
    place = server.folder / "jupyter" / "kernels" / NAME
    place.mkdir(parents=True, exist_ok=True)
    spec = KernelSpec(
        argv=[NAME, "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
        interrupt_mode="message",
        metadata={"kernel_provisioner": {"provisioner_name": NAME}},
    )
    (place / "kernel.json").write_text(spec.to_json(), encoding="utf-8")
    os.environ["JUPYTER_PATH"] = str(server.folder / "jupyter")
