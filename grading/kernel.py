"""The program that nbgrader starts as a kernel: it starts the real one, sandboxed, and ends it when it goes too far.

    python -m grading.kernel FOLDER CONNECTION_FILE ARGUMENT...

FOLDER is the worker's private folder. Its file kernel.json says how to start kernels, and into its file `stopped` goes
why one was ended. The arguments are passed on to IPython's kernel.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from grading import sandbox
from grading.limits import Limits, watch
from grading.processes import die_with_parent

NAME = "graded"
"""The name under which Jupyter knows this kernel in the worker's folder."""
SETTINGS = "kernel.json"
STOPPED = "stopped"
SOCKETS = "run"
"""The folder of the kernels' connection files and sockets."""


def install(folder: Path, limits: Limits, sandboxed: bool) -> dict[str, str]:
    """Make this program a kernel in a worker's folder; return the environment in which Jupyter finds it there."""
    settings = {"limits": vars(limits), "sandboxed": sandboxed}
    (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    place = folder / "jupyter" / "kernels" / NAME
    place.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-m", "grading.kernel", str(folder), "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        # A signal would reach this program and bubblewrap, not the kernel.
        "interrupt_mode": "message",
    }
    (place / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return {"JUPYTER_PATH": str(folder / "jupyter")}


def main(folder: Path, connection_file: Path, arguments: list[str]) -> int:
    """Run a kernel to its end."""
    die_with_parent()
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    limits = Limits(**settings["limits"])
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection_file), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "JPY_PARENT_PID"}
    scratch = None
    if settings["sandboxed"]:
        scratch = copy_of_current_folder(folder)
        writable = [(scratch, Path.cwd()), (folder / SOCKETS, folder / SOCKETS)]
        command = sandbox.command(Path.cwd(), writable, environment) + command
    limits.set_for_this_process()
    process = subprocess.Popen(command, env=environment)
    # Whoever ends this program means the kernel.
    signal.signal(signal.SIGTERM, lambda *_: process.kill())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reason = watch(process.pid, os.getppid(), scratch, limits, lambda: process.poll() is not None)
    if reason:
        (folder / STOPPED).write_text(reason, encoding="utf-8")
        process.kill()
    return process.wait()


def copy_of_current_folder(folder: Path) -> Path:
    """What the kernel takes for the submission's folder: nbgrader's own, with graded notebooks, must not be written."""
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=folder))
    shutil.copytree(Path.cwd(), scratch, dirs_exist_ok=True)
    for place, _, files in os.walk(scratch):
        for name in files:
            os.chmod(os.path.join(place, name), 0o644)
    return scratch


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
