"""Folders that a student's code may have filled, looked at and removed by the system's own programs.

These cope with folders that are deeper than Python recurses, or than a path can be long, and they follow no links.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file, or a folder in which nbgrader or a student's code may have made things read-only."""
    if os.path.lexists(path) and _run("rm", "-rf", "--", path).returncode:
        _run("chmod", "-R", "u+rwX", "--", path)
        _run("rm", "-rf", "--", path)


def clear(folder: Path) -> None:
    """Remove what is in a folder, which itself stays: a sandbox may be built on it."""
    for path in folder.iterdir():
        remove(path)


def size_of(folders: Sequence[Path]) -> int:
    """What the files in these folders take of the disk, in bytes."""
    answer = _run("du", "--summarize", "--total", "--block-size=1", "--", *folders)
    if answer.returncode:
        # A folder without rights hides what is in it from all but root. The next look sees it.
        _run("chmod", "-R", "u+rwX", "--", *folders)
    return int(answer.stdout.split()[-2])


def _run(*command: str | Path) -> subprocess.CompletedProcess:
    """Run one of the system's programs, wherever the PATH leads to."""
    return subprocess.run(command, env={"PATH": os.defpath}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
