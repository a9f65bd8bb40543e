"""Kernel servers for tests, without a class around them."""

import threading
from pathlib import Path

from grading.kernels.limits import Limits
from grading.kernels.warm_kernels import SOCKETS, KernelServer


def make_kernel_server(scratch: Path, preload: str = "", sandboxed: bool = True, **limits: float) -> KernelServer:
    """Create the kernel server of a submission, without starting it."""
    folder = scratch / "one"
    inside = folder / "submission"
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "one.ipynb").write_text("{}")
    return KernelServer(folder, inside, Limits(**{"seconds": 600} | limits), sandboxed, preload)


def run_code(server: KernelServer, code: str) -> bytes:
    """Have a kernel run code instead of waiting for Jupyter; return its exit code, or nothing if it was killed."""
    run = server.folder / SOCKETS
    arguments = ["-f", f"{run}/kernel.json", "--transport=ipc", f"--ip={run}/s", f"--IPKernelApp.code_to_run={code}"]
    with server.request(arguments, 600) as connection:
        return connection.recv(16).strip()


def run_code_meanwhile(server: KernelServer, code: str) -> None:
    threading.Thread(target=run_code, args=[server, code], daemon=True).start()
