"""Remove folders that a student's code may have filled, with the system's own programs.

These handle folders deeper than Python's recursion limit or the longest path, and they follow no links.
"""

import os
import subprocess
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file or a folder, even if nbgrader or a student's code made parts of it read-only."""
    if os.path.lexists(path) and _run("rm", "-rf", "--", path).returncode:
        _run("chmod", "-R", "u+rwX", "--", path)
        _run("rm", "-rf", "--", path)


def clear(folder: Path) -> None:
    """Remove the contents of a folder, but not the folder, which may be mounted in a sandbox."""
    for path in folder.iterdir():
        remove(path)


def make_readable(folder: Path) -> None:
    """Let every user read a folder and what is in it."""
    _run("chmod", "-R", "a+rX", "--", folder)


def _run(*command: str | Path) -> subprocess.CompletedProcess:
    """Run one of the system's programs, whatever this process's PATH."""
    return subprocess.run(command, env={"PATH": os.defpath}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
