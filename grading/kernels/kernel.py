"""The program that nbgrader starts as a kernel: it has the real one forked, and ends it when it goes too far.

    python -m grading.kernels.kernel FOLDER ARGUMENT...

FOLDER is the worker's private folder. Into its file `stopped` goes why a kernel was ended. The arguments are those of
IPython's kernel.
"""

import json
import os
import select
import signal
import sys
from pathlib import Path

from grading.kernels import sandbox
from grading.kernels.limits import watch
from grading.kernels.warm_start import SOCKETS, order, read_notes, read_settings
from grading.processes import die_with_parent

NAME = "graded"
"""The name under which Jupyter knows this kernel in the worker's folder."""
STOPPED = "stopped"


def install(folder: Path) -> dict[str, str]:
    """Make this program a kernel in a worker's folder; return the environment in which Jupyter finds it there."""
    place = folder / "jupyter" / "kernels" / NAME
    place.mkdir(parents=True)
    spec = {
        # -P: the current folder is the submission's, and nothing may be imported from there outside the sandbox.
        "argv": [sys.executable, "-P", "-m", "grading.kernels.kernel", str(folder), "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        # A signal would reach this program, not the kernel.
        "interrupt_mode": "message",
    }
    (place / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return {"JUPYTER_PATH": str(folder / "jupyter")}


def main(folder: Path, arguments: list[str]) -> int:
    """Run a kernel to its end."""
    die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which hangs up, and so ends the kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server, copy = read_notes(folder)
    environment = {name: value for name, value in os.environ.items() if name != "JPY_PARENT_PID"}
    if copy:
        environment = sandbox.inner_environment(environment)
    written = [copy, folder / SOCKETS] if copy else []
    with order(folder, {"arguments": arguments, "environment": environment, "folder": os.getcwd()}) as connection:

        def answered() -> bool:
            return bool(select.select([connection], [], [], 0)[0])

        reason = watch(server, os.getppid(), written, read_settings(folder).limits, answered)
        if reason:
            (folder / STOPPED).write_text(reason, encoding="utf-8")
            if copy:
                os.kill(server, signal.SIGKILL)  # and with it the whole sandbox
            return 1
        answer = connection.recv(16).strip()
    return abs(int(answer)) if answer.removeprefix(b"-").isdigit() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
