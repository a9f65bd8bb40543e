"""The program that nbgrader starts as a kernel: it requests one from the kernel server, and enforces its limits.

    python -m grading.kernels.kernel_launcher FOLDER ARGUMENT...

FOLDER is the worker's private folder. If a limit is exceeded, the kernel is killed and the reason written to the file
`killed` there. The arguments are those of IPython's kernel.
"""

import json
import os
import select
import signal
import sys
from pathlib import Path

from grading.kernels import sandbox
from grading.kernels.limits import monitor
from grading.kernels.process_control import die_with_parent
from grading.kernels.warm_start import read_process, read_settings, send_request

NAME = "graded"
"""The name under which Jupyter knows this kernel in the worker's folder."""
KILLED = "killed"


def install(folder: Path) -> dict[str, str]:
    """Install this program as a kernel in a worker's folder; return the environment in which Jupyter finds it there."""
    place = folder / "jupyter" / "kernels" / NAME
    place.mkdir(parents=True)
    spec = {
        # -P: the current folder is the submission's, and nothing may be imported from there outside the sandbox.
        "argv": [sys.executable, "-P", "-m", "grading.kernels.kernel_launcher", str(folder), "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        # A signal would reach this program, not the kernel.
        "interrupt_mode": "message",
    }
    (place / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return {"JUPYTER_PATH": str(folder / "jupyter")}


def main(folder: Path, arguments: list[str]) -> int:
    """Run a kernel until it exits or exceeds a limit; return its exit code."""
    die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # closes the connection, which kills the kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server, settings = read_process(folder), read_settings(folder)
    environment = {name: value for name, value in os.environ.items() if name != "JPY_PARENT_PID"}
    if settings.sandboxed:
        environment = sandbox.inner_environment(environment)
        sandbox.show(folder)
    request = {"arguments": arguments, "environment": environment, "folder": os.getcwd()}
    with send_request(folder, request) as connection:

        def has_exited() -> bool:
            return bool(select.select([connection], [], [], 0)[0])

        reason = monitor(server, os.getppid(), settings.limits, has_exited)
        if reason:
            (folder / KILLED).write_text(reason, encoding="utf-8")
            if settings.sandboxed:
                os.kill(server, signal.SIGKILL)  # and with it the whole sandbox
            return 1
        reply = connection.recv(16).strip()
    return abs(int(reply)) if reply.removeprefix(b"-").isdigit() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
