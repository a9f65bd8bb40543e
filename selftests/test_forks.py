"""A kernel server that is forked into a sandbox: it can do no more than one that was started in it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from grading.kernels import forks, sandbox, warm_start
from grading.kernels.forks import Fork, ForkServer
from grading.kernels.limits import Limits
from grading.kernels.namespaces import KINDS
from grading.kernels.warm_start import SOCKETS, KernelServer, Settings
from selftests.test_class_grading import needs_sandbox, wait_for

pytestmark = needs_sandbox

STATEMENTS = "import decimal"
GRADING = Path(forks.__file__).parent

# What a kernel finds out about itself and the kernel server.
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
    # In a child, which has one thread, as some calls insist on.
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
    "modules": sorted(set(sys.modules) - {"namespaces", "kernel_server"}),
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
def scratch() -> Iterator[Path]:
    """A folder with a short name, for sockets have short ones."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def fork_server(scratch: Path) -> Iterator[ForkServer]:
    server = ForkServer(scratch, STATEMENTS, dict(os.environ))
    yield server
    server.end()


def make_kernel_server(scratch: Path, fork_server: str) -> KernelServer:
    """The kernel server of a submission, not yet started."""
    folder = scratch / "one"
    inside = folder / "submission"
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "one.ipynb").write_text("{}")
    Settings(Limits(60), True, STATEMENTS, fork_server).write(folder)
    return KernelServer(folder, inside)


def run_probe(server: KernelServer) -> dict:
    """Have a kernel look around, instead of waiting for Jupyter."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        probe = PROBE.replace("@port@", str(outside.getsockname()[1]))
        run = server.folder / SOCKETS
        arguments = ["-f", f"{run}/kernel.json", "--transport=ipc", f"--ip={run}/s"]
        arguments += [f"--IPKernelApp.code_to_run={probe}"]
        environment = sandbox.inner_environment({"LANG": "C.UTF-8"})
        order = {"arguments": arguments, "environment": environment, "folder": str(server.inside)}
        with warm_start.order(server.folder, order, 60) as connection:
            assert connection.recv(16).strip() == b"0"
    _, copy = warm_start.read_notes(server.folder)
    return json.loads((copy / "found.json").read_text())


def test_it_can_do_no_more_than_one_that_was_started_there(scratch: Path, fork_server: ForkServer):
    found = {}
    for kind, place in ((subprocess.Popen, ""), (Fork, str(fork_server.socket))):
        server = make_kernel_server(scratch, place)
        server.ensure()
        assert isinstance(server.process, kind)
        found[kind] = run_probe(server)
        server.end()
    started, forked = found.values()
    forked["processes"].remove("cat")  # which keeps the sandbox
    different = {name: value for name, value in forked.items() if value != started[name]}
    assert not different, {name: started[name] for name in different}


def test_the_sandbox_lets_nothing_out(scratch: Path, fork_server: ForkServer):
    server = make_kernel_server(scratch, str(fork_server.socket))
    server.ensure()
    found = run_probe(server)
    server.end()
    for process in (found["kernel"], found["server"]):
        assert {value.strip() for name, value in process.items() if name.startswith("Cap")} == {"0" * 16}
    assert found["kernel"]["NoNewPrivs"].strip() == found["server"]["NoNewPrivs"].strip() == "1"
    assert found["shared memory"] == [[], []]
    assert set(found["processes"]) <= {"bwrap", "cat", "python", "python3"}
    assert found["networks"] == [[1, "lo"]]
    assert not any(module.partition(".")[0] in ("grading", "fork_server") for module in found["modules"])
    assert not found["Python can be written to"]
    errors = [found[name] for name in ("new users", "new mounts", "root's mounts", "into /usr", "into /", "call")]
    assert errors == ["ENOSPC", "EPERM", "EPERM", "EROFS", "EROFS", "ECONNREFUSED"]
    assert found["others' files"] == found["folders"]["/"]


def test_the_fork_server_is_in_a_sandbox_too(scratch: Path):
    places = [Path.home(), GRADING.with_name("solutions"), Path(__file__).parent / "answers"]
    names = f"[os.listdir(place) for place in {list(map(str, places))} if os.path.isdir(place)]"
    found = f"[{names}, socket.if_nameindex()]"
    statements = f"import json, os, socket; print(json.dumps({found}), file=open('{scratch}/found', 'w'), flush=True)"
    ForkServer(scratch, statements, dict(os.environ)).end()
    names, networks = json.loads((scratch / "found").read_text())
    assert not {".bashrc", "activation_patching", "right"} & {name for folder in names for name in folder}
    assert networks == [[1, "lo"]]


# A fork that goes wrong.

PROGRAM = """
import socket, sys
sys.path.insert(0, {grading!r})
import fork_server, namespaces
{change}
fork_server.main(socket.socket(fileno=int(sys.argv[1])), "")
"""


def started(scratch: Path, change: str) -> subprocess.Popen:
    """A fork server with a change, which takes its orders at the socket `orders`; it ends with the block."""
    program = PROGRAM.format(grading=str(GRADING), change=change)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(scratch / "orders"))
        listening.listen()
        command = [sys.executable, "-c", program, str(listening.fileno())]
        environment = sandbox.inner_environment({})
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, pass_fds=[listening.fileno()])


ENTER = """
import os, sys
sys.path.insert(0, {grading!r})
import fork_server, namespaces

keeper, inside = fork_server.make_sandbox({sandbox!r})
namespaces.KINDS = {kinds!r}
namespaces.enter(inside)
if os.fork() == 0:
    {drop}
    try:
        namespaces.insist_on_being_in(inside)
        print("in")
    except OSError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


def enter(kinds: list[str], drop: str = "namespaces.drop_privileges()") -> str:
    """What a process says that enters some of a sandbox's namespaces."""
    program = ENTER.format(grading=str(GRADING), sandbox=sandbox.command({}, {}, {}), kinds=kinds, drop=drop)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_it_notices_when_it_is_in():
    assert enter(list(KINDS)) == "in\n"


@pytest.mark.parametrize("missing", KINDS)
def test_it_notices_a_namespace_that_it_is_not_in(missing: str):
    said = enter([kind for kind in KINDS if kind != missing])
    # Without its namespace of processes, a process is not in /proc.
    assert ("/proc/self" if missing == "pid" else f"outside=['{missing}']") in said


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ("namespaces.libc.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)", "rights=['CapPrm', 'CapEff', 'CapBnd']"),
        ("namespaces.PR_SET_NO_NEW_PRIVS = namespaces.PR_SET_DUMPABLE; namespaces.drop_privileges()", "rights=[]"),
    ],
)
def test_it_notices_rights_that_it_has_kept(drop: str, said: str):
    assert said in enter(list(KINDS), drop)


def test_who_has_kept_rights_serves_nobody(scratch: Path):
    with started(scratch, "namespaces.drop_privileges = lambda: None"):
        server = make_kernel_server(scratch, str(scratch / "orders"))
        server.ensure()
        assert isinstance(server.process, subprocess.Popen)
        server.end()


def test_without_a_fork_server_the_kernel_server_is_started(scratch: Path):
    server = make_kernel_server(scratch, str(scratch / "no such socket"))
    server.ensure()
    assert isinstance(server.process, subprocess.Popen)
    assert run_probe(server)["modules"]
    server.end()


def test_says_why_it_could_not_fork(scratch: Path, fork_server: ForkServer):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(scratch / "orders"))
        for command, why in ((["bwrap", "--no-such-option"], "JSONDecodeError"), (["no-such-program"], "FileNotFound")):
            with pytest.raises(ChildProcessError, match=why):
                Fork(str(fork_server.socket), {"sandbox": command, "arguments": []}, listening, 60)


# The end of it.


def processes_with(text: str) -> list[str]:
    """The command lines of processes that name something."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if text in line]


def is_gone(text: str) -> Callable[[], bool]:
    return lambda: not processes_with(text)


def test_nothing_is_left_of_a_sandbox(scratch: Path, fork_server: ForkServer):
    server = make_kernel_server(scratch, str(fork_server.socket))
    server.ensure()
    assert processes_with(str(server.inside))
    server.end()
    wait_for(is_gone(str(server.inside)))
    assert not psutil.pid_exists(server.process.server)
    assert fork_server.process.poll() is None


WORKER = """
import os, sys, time
from pathlib import Path
from grading.kernels.forks import ForkServer
from selftests.test_forks import make_kernel_server

scratch = Path(sys.argv[1])
fork_server = ForkServer(scratch, "", dict(os.environ))
server = make_kernel_server(scratch, str(fork_server.socket))
server.ensure()
print(type(server.process).__name__, flush=True)
time.sleep(600)
"""


def test_nothing_is_left_of_a_worker_that_is_killed(scratch: Path):
    with subprocess.Popen([sys.executable, "-c", WORKER, str(scratch)], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout.readline() == "Fork\n"
        worker.kill()
    wait_for(is_gone(str(scratch)))


def test_a_fork_server_that_nobody_needs_ends(scratch: Path):
    with started(scratch, "fork_server.IDLE_SECONDS = 1") as process:
        server = make_kernel_server(scratch, str(scratch / "orders"))
        server.ensure()
        assert isinstance(server.process, Fork)
        assert process.wait(60) == 0
        assert run_probe(server)  # what it has forked goes on
        server.end()


def test_a_worker_has_one_fork_server_for_a_run(scratch: Path):
    first, again, next_run = (forks.fork_server_for(run, scratch, "", dict(os.environ)) for run in ("1", "1", "2"))
    assert again is first and next_run is not first
    assert first.process.poll() is not None and not Path(first.folder.name).exists()
    next_run.end()
    assert forks.fork_server_for("2", scratch, "", dict(os.environ)) is not next_run
    forks.end_current()
