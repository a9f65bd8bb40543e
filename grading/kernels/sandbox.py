"""What a kernel may see: a command line for bubblewrap that lists it, and nothing else exists inside.

The system's programs and libraries, Python with its packages, the workbook's own packages, the model and the cached
references can be read. The submission's folder, which is a copy, and the folder with the kernel's sockets can be
written, as can a small /tmp and a smaller /dev/shm in memory. There is no network, and no process outside can be seen.
"""

import importlib.util
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import platformdirs

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt")
# Of /etc, what programs need to find libraries, fonts and the time of day.
ETC = ("alternatives", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "timezone")

# The workbook's own packages that a notebook, or a check, imports, and the folders in them that tell answers.
PACKAGES = ("tests", "utils")
HIDDEN = ("selftests",)

# What is passed on of the environment.
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
TMP_BYTES = 512 * 2**20
NOBODY = 65534
SHARED_MEMORY_BYTES = 64 * 2**20


def is_missing() -> str:
    """Why there can be no sandbox here; empty where there can."""
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed (on Debian: apt-get install bubblewrap)"
    trial = subprocess.run([*command({}, {}, {}), "true"], capture_output=True, text=True)
    return f"bubblewrap cannot make one here ({trial.stderr.strip()})" if trial.returncode else ""


def command(writable: dict[Path, Path], environment: dict[str, str], more_to_read: dict[Path, Path]) -> list[str]:
    """The beginning of a command line; the program to run follows.

    `writable` are folders outside with their names inside, and `more_to_read` are files and folders besides those that
    every notebook needs, with theirs.
    """
    apart = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--proc", "/proc"]
    user = ["--uid", str(os.getuid()), "--gid", str(os.getgid())]
    return ["bwrap", *apart, *user, *what_is_inside(writable, environment, more_to_read)]


def command_for_more(
    writable: dict[Path, Path], environment: dict[str, str], more_to_read: dict[Path, Path]
) -> list[str]:
    """The same for a program of ours that makes further sandboxes inside, and so sees processes outside.

    It is not ended with the thread that starts it, which may be any of a worker's.
    """
    apart = ["--unshare-user", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--bind", "/proc", "/proc"]
    # Who were root in here, without root's rights, could make no sandbox in which to be root again; anybody else can.
    user = ["--uid", str(NOBODY), "--gid", str(NOBODY)]
    return ["bwrap", *apart, *user, *what_is_inside(writable, environment, more_to_read)]


def what_is_inside(
    writable: dict[Path, Path], environment: dict[str, str], more_to_read: dict[Path, Path]
) -> list[str]:
    """The files, the environment, and no rights."""
    arguments = ["--new-session", "--cap-drop", "ALL", "--hostname", "sandbox", "--dev", "/dev"]
    # bubblewrap's own file systems in memory, /dev and the root, have any size.
    arguments += ["--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    arguments += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--dir", HOME]
    for outside, inside in ({path: path for path in readable(environment)} | more_to_read).items():
        arguments += ["--ro-bind", str(outside), str(inside)]
    for path in hidden():
        arguments += ["--tmpfs", str(path), "--remount-ro", str(path)]
    for outside, inside in writable.items():
        arguments += ["--bind", str(outside), str(inside)]
    arguments += ["--remount-ro", "/", "--chdir", "/", "--clearenv"]
    for name, value in inner_environment(environment).items():
        arguments += ["--setenv", name, value]
    return arguments


def readable(environment: dict[str, str]) -> list[Path]:
    """Everything outside that can be read inside."""
    python = [sys.prefix, sys.base_prefix, Path(sys.executable).resolve().parent.parent]
    if site.ENABLE_USER_SITE and os.path.isdir(site.getusersitepackages()):
        python.append(site.getusersitepackages())
    candidates = [*SYSTEM, *(f"/etc/{name}" for name in ETC), *python, *packages(), *model(environment)]
    candidates.append(references(environment))
    return [Path(path) for path in dict.fromkeys(map(str, candidates)) if os.path.exists(path)]


def packages() -> list[Path]:
    """Where the workbook's own packages lie."""
    specs = [importlib.util.find_spec(name) for name in PACKAGES]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]


def hidden() -> list[Path]:
    """Folders in what is readable that are covered by empty ones."""
    beside = dict.fromkeys(place.parent for place in packages())
    return [path for place in beside for name in HIDDEN if (path := place / name).exists()]


def model(environment: dict[str, str]) -> list[Path]:
    """The folder of the model that everybody is graded on, or the Hugging Face cache; ioi-mini is part of `utils`."""
    name = environment.get("IOI_MODEL", "ioi-mini")
    if name == "ioi-mini":
        return []
    return [Path(name).expanduser()] if Path(name).expanduser().is_dir() else [hub_cache(environment)]


def hub_cache(environment: dict[str, str]) -> Path:
    """Where the Hugging Face hub keeps models; its token lies elsewhere."""
    home = environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(environment.get("HF_HUB_CACHE") or Path(home) / "hub")


def references(environment: dict[str, str]) -> Path:
    """Where utils.references keeps what it computed."""
    return Path(environment.get("IOI_CACHE") or platformdirs.user_cache_dir("activation-patching"))


def inner_environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment inside: little of the one outside, and a home of its own."""
    inner = {name: environment[name] for name in VARIABLES if name in environment}
    return inner | {
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": HOME,
        "TMPDIR": "/tmp",
        "IOI_CACHE": str(references(environment)),
        "HF_HUB_CACHE": str(hub_cache(environment)),
        "HF_HUB_OFFLINE": "1",
    }
