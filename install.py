"""Install what a requirements file pins, and the workbook itself, into an environment, unless they are installed.

The Makefile runs this first, with any Python 3: one that is too old for the workbook must still be able to say so.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

COURSE = Path(__file__).resolve().parent

# Run by an environment's Python: the environment's folder, the version, and where it finds the workbook.
PROBE = """
import importlib.util, json, sys
utils = importlib.util.find_spec("utils")
print(json.dumps([sys.prefix, sys.version_info[:2], utils and utils.origin]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", nargs="?", default="requirements.txt")
    parser.add_argument("--environment", default=".venv", help="its folder, by default .venv in the course's")
    arguments = parser.parse_args()
    home = os.path.expanduser("~")
    if not (os.path.isdir(home) and os.access(home, os.W_OK)):
        sys.exit("Jupyter needs a home folder to write to: set the environment variable HOME to a folder of yours.")
    try:
        install(arguments.requirements, COURSE / arguments.environment)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: run the same command again, and it goes on.")


def install(requirements: str, environment: Path) -> None:
    """Install the environment, its pip, the packages and the workbook: each of them only if it is missing."""
    stamp = environment / ".workbook"
    installed, wanted = read(stamp), hashes(requirements)
    moved = not same(installed.get("environment", environment), environment)
    if moved or not probe(environment):
        create(environment, moved)
    found = probe(environment)
    if not found:
        refuse(environment, "does not work")
    version, workbook = found
    if version < oldest_python():
        refuse(environment, f"has {name(version)}, and the workbook needs {name(oldest_python())} or newer")
    if wanted.items() <= installed.items() and same(workbook, COURSE / "utils" / "__init__.py"):
        return
    add_pip(environment)
    if stamp.exists():
        stamp.unlink()
    print(f"Installing {requirements} into {environment}", flush=True)
    if run(environment, "pip", "install", "--requirement", requirements):
        sys.exit(
            f"pip could not install {requirements}, for the reason that stands above. "
            "There is no PyTorch for Macs with Intel processors and for Windows on ARM: use Colab there (README.md)."
        )
    wanted["environment"] = os.path.realpath(str(environment))
    stamp.write_text(json.dumps(wanted, indent=1), encoding="utf-8")


def oldest_python() -> list:
    project = (COURSE / "pyproject.toml").read_text(encoding="utf-8")
    return [int(number) for number in re.findall(r'requires-python = ">=(\d+)\.(\d+)"', project)[0]]


def hashes(requirements: str) -> dict:
    """Return a hash of each file that says what is to be installed."""
    files = {"pyproject.toml", "requirements.txt", requirements}
    return {file: hashlib.sha256((COURSE / file).read_bytes()).hexdigest() for file in files}


def read(stamp: Path) -> dict:
    """Return what was installed, as hashes, and where the environment lay; nothing if an installation never ended."""
    try:
        return dict(json.loads(stamp.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        return {}


def probe(environment: Path) -> list:
    """Return an environment's version of Python and where it finds the workbook; nothing if it is not one."""
    try:
        # Isolated: what lies in the current folder or on PYTHONPATH is not installed.
        command = [python(environment), "-I", "-c", PROBE]
        prefix, *found = json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL).decode())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return []
    return found if same(prefix, environment) else []


def create(environment: Path, moved: bool) -> None:
    """Create an environment without pip, in place of one that was moved or is half made."""
    if is_active(environment):
        refuse(environment, "was moved or is half made")
    if list(sys.version_info[:2]) < oldest_python():
        sys.exit(
            f"This is {name(sys.version_info)}, and the workbook needs {name(oldest_python())} or newer: "
            "install one and choose it, for instance with `make lab PYTHON=python3.12`."
        )
    print(f"Making the environment {environment}" + " again, because it was moved" * moved, flush=True)
    clear(environment)
    if subprocess.call([sys.executable, "-m", "venv", "--without-pip", str(environment)]):
        refuse(environment, "cannot be made, for the reason that stands above")


def clear(environment: Path) -> None:
    """Delete an environment, and no other folder: first it gets another name, so that no half of it is ever used."""
    deleted = environment.with_name(environment.name + "-to-delete")
    shutil.rmtree(str(deleted), ignore_errors=True)  # what an interrupted deletion has left
    if (environment / "pyvenv.cfg").exists():
        environment.rename(deleted)
        shutil.rmtree(str(deleted), ignore_errors=True)
    elif environment.is_dir() and os.listdir(str(environment)):
        refuse(environment, "has no pyvenv.cfg")


def add_pip(environment: Path) -> None:
    """Install pip where it is missing, as after `create`; where it is damaged, in an environment made anew."""
    if not has_pip(environment):
        ensure_pip(environment)
    if not has_pip(environment):  # ensurepip takes a damaged one for installed
        create(environment, moved=False)
        ensure_pip(environment)


def has_pip(environment: Path) -> bool:
    return run(environment, "pip", "--version", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def ensure_pip(environment: Path) -> None:
    if run(environment, "ensurepip", "--default-pip", stdout=subprocess.DEVNULL):
        refuse(environment, "has no pip, and its Python cannot install it (Debian and Ubuntu: install python3-venv)")


def run(environment: Path, module: str, *arguments: str, **options) -> int:
    return subprocess.call([python(environment), "-m", module, *arguments], cwd=str(COURSE), **options)


def python(environment: Path) -> str:
    return str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def is_active(environment: Path) -> bool:
    return same(os.environ.get("VIRTUAL_ENV"), environment)


def same(one, other) -> bool:
    """Tell whether two paths, of which the first may be missing, are of one file or folder."""
    return bool(one) and os.path.realpath(str(one)) == os.path.realpath(str(other))


def name(version) -> str:
    return "Python {}.{}".format(*version)


def refuse(environment: Path, problem: str) -> None:
    """Stop with a sentence on what is wrong with an environment and what to do about it."""
    remedy = "run `deactivate`" if is_active(environment) else "remove or rename that folder"
    sys.exit(f"The environment {environment} {problem}: {remedy}, and then run the same command again.")


if __name__ == "__main__":
    main()
