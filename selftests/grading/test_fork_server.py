"""A kernel server forked into a sandbox has no more privileges than one started in it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from grading.kernels import fork_server_client, sandbox, system_calls, warm_start
from grading.kernels.fork_server_client import ForkedProcess, ForkServer
from grading.kernels.namespaces import KINDS
from grading.kernels.warm_start import SOCKETS, KernelServer
from selftests.grading.kernel_servers import STATEMENTS, make_kernel_server
from selftests.grading.tiny_class import needs_sandbox, wait_for

pytestmark = needs_sandbox

GRADING = Path(fork_server_client.__file__).parent

# Code by which a kernel inspects itself and the kernel server.
PROBE = """
import ctypes, errno, json, os, resource, socket, sys, time

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000

def status(process):
    with open(f"/proc/{process}/status") as stream:
        lines = dict(line.strip().split(":", 1) for line in stream)
    names = ("Uid", "Gid", "Groups", "Umask", "NoNewPrivs", "Seccomp", "Threads", "SigBlk", "SigIgn", "SigCgt")
    return {name: value for name, value in lines.items() if name.startswith("Cap") or name in names}

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

def mounts():
    with open("/proc/self/mountinfo") as stream:
        lines = [line.split() for line in stream]
    # A folder may be covered twice.
    return sorted({" ".join([line[4], line[5], line[line.index("-") + 1]]) for line in lines})

def descriptors(process):
    links = [os.readlink(f"/proc/{process}/fd/{name}") for name in os.listdir(f"/proc/{process}/fd")]
    return sorted("a log" if "deleted" in link else link.partition(":")[0] for link in links)

def shared_memory(process):
    with open(f"/proc/{process}/maps") as stream:
        return [line for line in stream if "w" in line.split()[1] and "s" in line.split()[1]]

def commands():
    found = []
    for process in os.listdir("/proc"):
        if process.isdigit():
            with open(f"/proc/{process}/comm") as stream:
                found.append(stream.read().strip())
    return sorted(found)

server = os.getppid()
open("its_own_file", "w").close()
found = {
    "kernel": status("self"),
    "server": status(server),
    "limits": [resource.getrlimit(number) for number in range(16)],
    "first to go": open("/proc/self/oom_score_adj").read(),
    "mounts": mounts(),
    "folders": {place: sorted(os.listdir(place)) for place in ("/", "/etc", "/tmp", "/dev", os.getcwd())},
    "server's folder": os.readlink(f"/proc/{server}/cwd"),
    "server's files": descriptors(server),
    "a session of its own": os.getsid(server) > 0,
    "shared memory": [shared_memory("self"), shared_memory(server)],
    "processes": commands(),
    "control groups": open("/proc/self/cgroup").read(),
    "host": socket.gethostname(),
    "networks": socket.if_nameindex(),
    "environment": dict(os.environ),
    "search path": sys.path,
    "modules": sorted(set(sys.modules) - {"kernel_server", "limits", "namespaces", "system_calls"}),
    "new users": fails(libc.unshare, CLONE_NEWUSER),
    "new mounts": fails(libc.unshare, CLONE_NEWNS),
    "root's mounts": fails(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None),
    "Python can be written to": os.access("/proc/self/exe", os.W_OK),
    "into /usr": error(lambda: open("/usr/new", "w")),
    "into /": error(lambda: open("/new", "w")),
    "others' files": sorted(os.listdir("/proc/1/root")),
    "call": error(lambda: socket.create_connection(("127.0.0.1", @port@), timeout=2)),
}
with open("found.json", "w") as stream:
    json.dump(found, stream)
os._exit(0)
"""


@pytest.fixture
def fork_server(scratch: Path) -> Iterator[ForkServer]:
    server = ForkServer(scratch, STATEMENTS, dict(os.environ))
    yield server
    server.stop()


def run_probe(server: KernelServer) -> dict:
    """Have a kernel run the probe instead of waiting for Jupyter."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        probe = PROBE.replace("@port@", str(outside.getsockname()[1]))
        run = server.folder / SOCKETS
        arguments = ["-f", f"{run}/kernel.json", "--transport=ipc", f"--ip={run}/s"]
        arguments += [f"--IPKernelApp.code_to_run={probe}"]
        environment = sandbox.inner_environment({"LANG": "C.UTF-8"})
        request = {"arguments": arguments, "environment": environment, "folder": str(server.inside)}
        with warm_start.send_request(server.folder, request, 600) as connection:
            assert connection.recv(16).strip() == b"0"
    inside = server.inside.relative_to(server.folder)
    return json.loads((server.folder / SOCKETS / ".." / inside / "found.json").read_text())


def test_a_forked_kernel_server_has_the_privileges_of_a_started_one(scratch: Path, fork_server: ForkServer):
    found = {}
    for kind, place in ((subprocess.Popen, ""), (ForkedProcess, str(fork_server.socket))):
        server = make_kernel_server(scratch, place)
        server.ensure_ready()
        assert isinstance(server.process, kind)
        found[kind] = run_probe(server)
        server.stop()
    started, forked = found.values()
    forked["processes"].remove("cat")  # which holds the sandbox open
    different = {name: value for name, value in forked.items() if value != started[name]}
    assert not different, {name: started[name] for name in different}


def test_a_kernel_cannot_leave_the_sandbox(scratch: Path, fork_server: ForkServer):
    server = make_kernel_server(scratch, str(fork_server.socket))
    server.ensure_ready()
    found = run_probe(server)
    server.stop()
    for process in (found["kernel"], found["server"]):
        assert {value.strip() for name, value in process.items() if name.startswith("Cap")} == {"0" * 16}
    assert found["kernel"]["NoNewPrivs"].strip() == found["server"]["NoNewPrivs"].strip() == "1"
    assert found["shared memory"] == [[], []]
    assert set(found["processes"]) <= {"bwrap", "cat", "python", "python3"}
    assert found["networks"] == [[1, "lo"]]
    assert not any(module.partition(".")[0] in ("grading", "fork_server") for module in found["modules"])
    assert not found["Python can be written to"]
    errors = [found[name] for name in ("new users", "new mounts", "root's mounts", "into /usr", "into /", "call")]
    assert errors == ["EPERM", "EPERM", "EPERM", "EROFS", "EROFS", "ECONNREFUSED"]
    assert found["others' files"] == found["folders"]["/"]


def test_the_fork_server_is_in_a_sandbox_too(scratch: Path):
    places = [Path.home(), GRADING.with_name("solutions"), Path(__file__).parent / "answers"]
    names = f"[os.listdir(place) for place in {list(map(str, places))} if os.path.isdir(place)]"
    found = f"[{names}, socket.if_nameindex()]"
    server = ForkServer(scratch, f"import json, os, socket; print(json.dumps({found}))", dict(os.environ))
    server.process.communicate()
    names, networks = json.loads(server.socket.with_name("log").read_text().splitlines()[-1])
    server.stop()
    assert not {".bashrc", "activation_patching", "right"} & {name for folder in names for name in folder}
    assert networks == [[1, "lo"]]


# Failures while forking.

PROGRAM = """
import socket, sys
sys.path.insert(0, {grading!r})
import fork_server, namespaces
{change}
fork_server.main(socket.socket(fileno=int(sys.argv[1])), "")
"""


def start_changed(scratch: Path, change: str) -> subprocess.Popen:
    """Start a fork server with a changed program, which serves the socket `requests`."""
    program = PROGRAM.format(grading=str(GRADING), change=change)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(scratch / "requests"))
        listening.listen()
        command = [sys.executable, "-c", program, str(listening.fileno())]
        environment = sandbox.inner_environment({})
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, pass_fds=[listening.fileno()])


ENTER = """
import os, sys
sys.path.insert(0, {grading!r})
import fork_server, namespaces

bubblewrap, sandbox = fork_server.make_sandbox({sandbox!r})
namespaces.KINDS = {kinds!r}
namespaces.enter(sandbox)
if os.fork() == 0:
    {drop}
    try:
        namespaces.verify_inside(sandbox)
        print("in")
    except OSError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


DROP = "namespaces.drop_privileges(); fork_server.Filter().load()"


def enter(kinds: list[str], drop: str = DROP) -> str:
    """Return the output of a process that enters some of a sandbox's namespaces."""
    program = ENTER.format(grading=str(GRADING), sandbox=sandbox.command([], {}, {}), kinds=kinds, drop=drop)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_a_process_in_all_namespaces_is_verified():
    assert enter(list(KINDS)) == "in\n"


@pytest.mark.parametrize("missing", KINDS)
def test_a_missing_namespace_is_detected(missing: str):
    output = enter([kind for kind in KINDS if kind != missing])
    # Outside the PID namespace, a process is not in /proc.
    assert ("/proc/self" if missing == "pid" else f"outside=['{missing}']") in output


@pytest.mark.parametrize(
    ("drop", "error"),
    [
        (
            "namespaces.libc.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)",
            "capabilities=['CapPrm', 'CapEff', 'CapBnd']",
        ),
        (
            "namespaces.PR_SET_NO_NEW_PRIVS = namespaces.PR_SET_DUMPABLE; namespaces.drop_privileges()",
            "capabilities=[]",
        ),
        ("namespaces.drop_privileges()", "capabilities=[], filtered=False"),
    ],
)
def test_privileges_not_dropped_are_detected(drop: str, error: str):
    assert error in enter(list(KINDS), drop)


def test_a_forked_server_with_privileges_is_not_used(scratch: Path):
    with start_changed(scratch, "namespaces.drop_privileges = lambda: None"):
        server = make_kernel_server(scratch, str(scratch / "requests"))
        server.ensure_ready()
        assert isinstance(server.process, subprocess.Popen)
        server.stop()


def test_a_kernel_server_is_started_without_a_fork_server(scratch: Path):
    server = make_kernel_server(scratch, str(scratch / "no such socket"))
    server.ensure_ready()
    assert isinstance(server.process, subprocess.Popen)
    assert run_probe(server)["modules"]
    server.stop()


def test_errors_of_forking_are_reported(scratch: Path, fork_server: ForkServer):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(scratch / "requests"))
        for command, why in ((["bwrap", "--no-such-option"], "JSONDecodeError"), (["no-such-program"], "FileNotFound")):
            with pytest.raises(ChildProcessError, match=why):
                ForkedProcess(
                    str(fork_server.socket),
                    {"sandbox": command, "limits": {"seconds": 600}, "arguments": []},
                    listening,
                    600,
                )


# Cleaning up.


def processes_with(text: str) -> list[str]:
    """List the command lines that contain a text."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if text in line]


def is_gone(text: str) -> Callable[[], bool]:
    return lambda: not processes_with(text)


def test_no_process_is_left_of_a_stopped_sandbox(scratch: Path, fork_server: ForkServer):
    server = make_kernel_server(scratch, str(fork_server.socket))
    server.ensure_ready()
    assert processes_with(str(server.inside))
    server.stop()
    wait_for(is_gone(str(server.inside)))
    assert not psutil.pid_exists(server.process.server)
    assert fork_server.process.poll() is None


WORKER = """
import os, sys, time
from pathlib import Path
from grading.kernels.fork_server_client import ForkServer
from selftests.grading.kernel_servers import make_kernel_server

scratch = Path(sys.argv[1])
fork_server = ForkServer(scratch, "", dict(os.environ))
server = make_kernel_server(scratch, str(fork_server.socket))
server.ensure_ready()
print(type(server.process).__name__, flush=True)
time.sleep(600)
"""


def test_no_process_is_left_of_a_killed_worker(scratch: Path):
    with subprocess.Popen([sys.executable, "-c", WORKER, str(scratch)], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout.readline() == "ForkedProcess\n"
        worker.kill()
    wait_for(is_gone(str(scratch)))


HURRY_AFTER_A_REQUEST = """
def fork(fork=fork_server.os.fork):
    fork_server.IDLE_SECONDS = 1
    return fork()
fork_server.os.fork = fork
"""


def test_an_idle_fork_server_exits(scratch: Path):
    with start_changed(scratch, HURRY_AFTER_A_REQUEST) as process:
        server = make_kernel_server(scratch, str(scratch / "requests"))
        server.ensure_ready()
        assert isinstance(server.process, ForkedProcess)
        assert process.wait(600) == 0
        assert run_probe(server)  # its kernel server keeps running
        server.stop()


def test_a_worker_has_one_fork_server_for_each_run(scratch: Path):
    first, again, next_run = (
        fork_server_client.get_fork_server(run, scratch, "", dict(os.environ)) for run in ("1", "1", "2")
    )
    assert again is first and next_run is not first
    assert first.process.poll() is not None and not Path(first.folder.name).exists()
    next_run.stop()
    assert fork_server_client.get_fork_server("2", scratch, "", dict(os.environ)) is not next_run
    fork_server_client.stop_fork_server()


def test_without_a_filter_of_system_calls_there_is_no_sandbox(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system_calls, "REFUSED", ["no_such_call"])
    reason = "libseccomp is too old: it does not know the system call no_such_call"
    assert reason in sandbox.why_unavailable()
    monkeypatch.setattr(system_calls.ctypes, "CDLL", Mock(side_effect=OSError("libseccomp.so.2: cannot open")))
    assert "libseccomp.so.2: cannot open" in sandbox.why_unavailable()
