"""What a kernel can do in its sandbox, seen from inside, and that nothing is left of a sandbox that was stopped."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from grading.kernels import sandbox, system_calls
from grading.kernels.warm_kernels import SOCKETS, KernelServer
from selftests.grading.kernel_servers import make_kernel_server, run_code
from selftests.grading.tiny_class import needs_sandbox, wait_for

pytestmark = needs_sandbox

# Code by which a kernel inspects itself and the kernel server.
PROBE = """
import ctypes, errno, json, os, socket, sys

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000

def status(process):
    with open(f"/proc/{process}/status") as stream:
        lines = dict(line.strip().split(":", 1) for line in stream)
    names = ("NoNewPrivs", "Seccomp")
    return {name: value.strip() for name, value in lines.items() if name.startswith("Cap") or name in names}

def fails(call, *arguments):
    # In a child, which has a single thread, as some calls require.
    if child := os.fork():
        return errno.errorcode.get(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(call(*arguments) and ctypes.get_errno())

def error(attempt):
    try:
        return str(attempt())
    except OSError as problem:
        return errno.errorcode.get(problem.errno, str(problem))

def shared_memory(process):
    with open(f"/proc/{process}/maps") as stream:
        return [line for line in stream if "w" in line.split()[1] and "s" in line.split()[1]]

def commands():
    return [open(f"/proc/{process}/comm").read().strip() for process in os.listdir("/proc") if process.isdigit()]

server = os.getppid()
found = {
    "kernel": status("self"),
    "server": status(server),
    "first to be killed": open("/proc/self/oom_score_adj").read().strip(),
    "root": os.listdir("/"),
    "others' root": os.listdir("/proc/1/root"),
    "shared memory": [shared_memory("self"), shared_memory(server)],
    "processes": commands(),
    "networks": socket.if_nameindex(),
    "modules": list(sys.modules),
    "new users": fails(libc.unshare, CLONE_NEWUSER),
    "new mounts": fails(libc.unshare, CLONE_NEWNS),
    "root's mounts": fails(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None),
    "Python can be written to": os.access("/proc/self/exe", os.W_OK),
    "into /usr": error(lambda: open("/usr/new", "w")),
    "into /": error(lambda: open("/new", "w")),
    "call": error(lambda: socket.create_connection(("127.0.0.1", @port@), timeout=2)),
}
with open("found.json", "w") as stream:
    json.dump(found, stream)
os._exit(0)
"""


def run_probe(server: KernelServer) -> dict:
    """Have a kernel run the probe, and read what it found."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        assert run_code(server, PROBE.replace("@port@", str(outside.getsockname()[1]))) == b"0"
    inside = server.inside.relative_to(server.folder)
    return json.loads((server.folder / SOCKETS / ".." / inside / "found.json").read_text())


def test_a_kernel_cannot_leave_the_sandbox(scratch: Path):
    server = make_kernel_server(scratch)
    server.ensure_ready()
    found = run_probe(server)
    server.stop()
    for process in (found["kernel"], found["server"]):
        assert {value for name, value in process.items() if name.startswith("Cap")} == {"0" * 16}
        assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    assert found["first to be killed"] == "1000"
    assert found["shared memory"] == [[], []]
    assert set(found["processes"]) <= {"bwrap", "python", "python3"}
    assert found["networks"] == [[1, "lo"]]
    assert not any(module.partition(".")[0] == "grading" for module in found["modules"])
    assert not found["Python can be written to"]
    errors = [found[name] for name in ("new users", "new mounts", "root's mounts", "into /usr", "into /", "call")]
    assert errors == ["EPERM", "EPERM", "EPERM", "EROFS", "EROFS", "ECONNREFUSED"]
    assert sorted(found["others' root"]) == sorted(found["root"])


# Cleaning up.


def processes_with(text: str) -> list[str]:
    """List the command lines that contain a text."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if text in line]


def is_gone(text: str) -> Callable[[], bool]:
    return lambda: not processes_with(text)


def test_no_process_is_left_of_a_stopped_sandbox(scratch: Path):
    server = make_kernel_server(scratch)
    server.ensure_ready()
    assert processes_with(str(server.inside))
    server.stop()
    wait_for(is_gone(str(server.inside)))


GRADER = """
import sys, time
from pathlib import Path
from selftests.grading.kernel_servers import make_kernel_server

make_kernel_server(Path(sys.argv[1]), sandboxed=sys.argv[2] == "True").ensure_ready()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("sandboxed", [True, False])
def test_no_process_is_left_of_a_killed_grader(scratch: Path, sandboxed: bool):
    command = [sys.executable, "-c", GRADER, str(scratch), str(sandboxed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as grader:
        assert grader.stdout.readline() == "ready\n"
        grader.kill()
    wait_for(is_gone(str(scratch)))


def test_without_a_filter_of_system_calls_there_is_no_sandbox(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system_calls, "REFUSED", ["no_such_call"])
    reason = "libseccomp is too old: it does not know the system call no_such_call"
    assert reason in sandbox.why_unavailable()
    monkeypatch.setattr(system_calls.ctypes, "CDLL", Mock(side_effect=OSError("libseccomp.so.2: cannot open")))
    assert "libseccomp.so.2: cannot open" in sandbox.why_unavailable()
