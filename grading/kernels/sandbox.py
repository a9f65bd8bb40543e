"""The sandbox that kernels run in: a command line for bubblewrap that lists everything that exists inside.

The system's programs and libraries, Python with its packages, the workbook's own packages, the model and the cached
references are read-only, as is /proc. What is writable lies in memory, in file systems of a fixed size that no hidden
or deleted file exceeds: the folder with a copy of the submission and the kernel's sockets, /tmp and /dev/shm. There is
no network, processes outside are invisible, and system_calls.py says which system calls are refused.

It runs as the user who grades; where that is root, as a user that nothing else on the machine runs as. Root only lays
out the files that this other user may read, in a sandbox around the kernel's.
"""

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import platformdirs

from grading import folders
from grading.kernels.system_calls import filtered

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt")
# The parts of /etc that programs need to find libraries, fonts and the time of day.
ETC = ("alternatives", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "timezone")

ROOT = Path(__file__).parents[2]
"""The folder of the workbook's packages: notebooks are graded with those beside this one, sandboxed or not."""
# Those that a notebook or a check imports, and folders beside them that contain answers.
PACKAGES = ("tests", "utils")
HIDDEN = ("selftests",)

# The environment variables that are passed on.
VARIABLES = (
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "IOI_CACHE",
    "IOI_MODEL",
    "LANG",
    "LC_ALL",
    "NBGRADER_EXECUTION",
    "OMP_NUM_THREADS",
    "PLOTLY_RENDERER",
    "TZ",
)
HOME = "/tmp/home"
COPY_BYTES = 512 * 2**20
TMP_BYTES = 512 * 2**20
SHARED_MEMORY_BYTES = 64 * 2**20
FILE_BYTES = COPY_BYTES + TMP_BYTES + SHARED_MEMORY_BYTES
UNPRIVILEGED_ID = "65534"
"""The user and group as they are called inside: `nobody`."""
FIRST_ID = 0x70000000
"""The first of the numbers that Linux distributions give to no user and no container."""


def why_unavailable() -> str:
    """Return why no sandbox can be created here; empty where one can."""
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed (on Debian: apt-get install bubblewrap)"
    try:
        with filtered(command([], {}, {})) as (prefix, system_calls):
            trial = subprocess.run(
                [*as_other_user({}, {}), *prefix, sys.executable, "-c", ""],
                capture_output=True,
                text=True,
                pass_fds=[system_calls],
            )
    except OSError as error:
        return f"system calls cannot be filtered here ({error}; on Debian: apt-get install libseccomp2)"
    return f"bubblewrap cannot create one here ({trial.stderr.strip()})" if trial.returncode else ""


def command(writable: list[Path], environment: dict[str, str], extra_readable: dict[Path, Path]) -> list[str]:
    """Return the command line that runs the program appended to it in a sandbox; `filtered` completes it.

    `writable` are folders, empty in there; `extra_readable` maps files and folders, besides those that every notebook
    needs, to their paths inside.
    """
    isolation = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"]
    # A process could make itself the last to be killed when memory runs out.
    isolation += ["--proc", "/proc", "--remount-ro", "/proc", "--uid", UNPRIVILEGED_ID, "--gid", UNPRIVILEGED_ID]
    in_there = [option for path in writable for option in in_memory(path, COPY_BYTES)]
    return ["bwrap", *isolation, *contents(in_there, environment, extra_readable)]


def as_other_user(environment: dict[str, str], extra_readable: dict[Path, Path]) -> list[str]:
    """Return what precedes the command line of a sandbox, which then runs as another user: nothing, unless root grades.

    It is a sandbox too, in which a nested one can be created.
    """
    if os.getuid():
        return []
    # Root without capabilities may not kill another user's process, but it ends with its namespace.
    isolation = ["--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-pid", "--die-with-parent"]
    # One for each process that grades: users have limits of their own, and may touch their other processes.
    other = str(FIRST_ID + os.getpid())
    become = ["setpriv", "--reuid", other, "--regid", other, "--clear-groups", "--inh-caps=-all"]
    options = contents([], environment, extra_readable)
    capabilities = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return ["bwrap", *isolation, "--bind", "/proc", "/proc", *options, *capabilities, *become]


def show(folder: Path) -> None:
    """Where root grades, let the other user, and so every user, read what is in a folder."""
    if not os.getuid():
        folders.make_readable(folder)


def in_memory(path: str | Path, size: int) -> list[str]:
    """Return bubblewrap's options for a file system in memory, of that many bytes."""
    return ["--size", str(size), "--tmpfs", str(path)]


def contents(writable: list[str], environment: dict[str, str], extra_readable: dict[Path, Path]) -> list[str]:
    """Return bubblewrap's options for the sandbox's files and environment, without capabilities."""
    arguments = ["--new-session", "--cap-drop", "ALL", "--hostname", "sandbox", "--dev", "/dev"]
    # bubblewrap's own in-memory file systems, /dev and the root, are unlimited in size: mount them read-only.
    # Mapped as shared, /dev/zero is memory that is not counted: an empty device takes its place.
    arguments += ["--dev-bind", "/dev/null", "/dev/zero"]
    arguments += [*in_memory("/dev/shm", SHARED_MEMORY_BYTES), "--remount-ro", "/dev"]
    arguments += [*in_memory("/tmp", TMP_BYTES), "--dir", HOME, *writable]
    readable = {path: path for path in readable_paths(environment)} | extra_readable
    # Folders that bubblewrap creates on the way to a mount are closed to all users but its own.
    for folder in sorted({parent for inside in readable.values() for parent in inside.parents}):
        arguments += ["--dir", str(folder)]
    for outside, inside in readable.items():
        arguments += ["--ro-bind", str(outside), str(inside)]
    for path in hidden_folders():
        arguments += ["--tmpfs", str(path), "--remount-ro", str(path)]
    arguments += ["--remount-ro", "/", "--chdir", "/", "--clearenv"]
    for name, value in inner_environment(environment).items():
        arguments += ["--setenv", name, value]
    return arguments


def readable_paths(environment: dict[str, str]) -> list[Path]:
    """Return everything outside that is readable inside."""
    python = [sys.prefix, sys.base_prefix, Path(sys.executable).resolve().parent.parent]
    if site.ENABLE_USER_SITE and os.path.isdir(site.getusersitepackages()):
        python.append(site.getusersitepackages())
    candidates = [*SYSTEM, *(f"/etc/{name}" for name in ETC), *python, *(ROOT / name for name in PACKAGES)]
    candidates += [*model_folder(environment), reference_cache(environment)]
    return [Path(path) for path in dict.fromkeys(map(str, candidates)) if os.path.exists(path)]


def python_path() -> str:
    """Return the value of PYTHONPATH with which processes import the packages in `ROOT`, whatever else is installed."""
    old = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, old)]))


def hidden_folders() -> list[Path]:
    """Return the folders beside the packages that are covered by empty ones."""
    return [path for name in HIDDEN if (path := ROOT / name).exists()]


def model_folder(environment: dict[str, str]) -> list[Path]:
    """Return the grading model's folder, or the Hugging Face cache; none for ioi-mini, which is part of `utils`."""
    name = environment.get("IOI_MODEL", "ioi-mini")
    if name == "ioi-mini":
        return []
    return [Path(name).expanduser()] if Path(name).expanduser().is_dir() else [hub_cache(environment)]


def hub_cache(environment: dict[str, str]) -> Path:
    """Return the Hugging Face hub's cache of models; its token is stored elsewhere."""
    home = environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(environment.get("HF_HUB_CACHE") or Path(home) / "hub")


def reference_cache(environment: dict[str, str]) -> Path:
    """Return the folder in which utils.references caches its results."""
    return Path(environment.get("IOI_CACHE") or platformdirs.user_cache_dir("activation-patching"))


def inner_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment inside: few of the variables outside, and a home of its own."""
    inner = {name: environment[name] for name in VARIABLES if name in environment}
    return inner | {
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "HOME": HOME,
        "TMPDIR": "/tmp",
        "IOI_CACHE": str(reference_cache(environment)),
        "HF_HUB_CACHE": str(hub_cache(environment)),
        "HF_HUB_OFFLINE": "1",
    }
