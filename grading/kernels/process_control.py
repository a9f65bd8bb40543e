"""How this package's processes end together, by prctl(2) of Linux; elsewhere these functions do nothing.

kernel_server.py imports this file inside the sandbox, where no other module of the package exists.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def die_with_parent() -> None:
    """Have the system kill this process when its parent exits, so that a killed worker leaves no process behind."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent or parent == 1:
            sys.exit("the parent process has exited")


def become_subreaper() -> None:
    """Become the parent of descendants whose parent exits, so that none outlives its notebook."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
