"""Kernel servers for tests, without a class around them."""

from pathlib import Path

from grading.kernels.limits import Limits
from grading.kernels.warm_start import KernelServer, Settings

STATEMENTS = "import decimal"


def make_kernel_server(
    scratch: Path, fork_server: str, statements: str = STATEMENTS, sandboxed: bool = True
) -> KernelServer:
    """Create the kernel server of a submission, without starting it."""
    folder = scratch / "one"
    inside = folder / "submission"
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "one.ipynb").write_text("{}")
    Settings(Limits(600), sandboxed, statements, fork_server).write(folder)
    return KernelServer(folder, inside)
