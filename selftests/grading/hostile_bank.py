"""Hostile and invalid submissions: what each does, and the expected result.

They belong to a course of two notebooks, `one` and `two`, each with a solution cell and a check worth two points. The
check of `two` calls `checker.py`, an instructor's module beside the notebooks. Every entry has the expected points of
its notebooks and the expected remark in the report, word for word. Most put their code into notebook `one` and answer
`two` correctly: an attack in one notebook must not cost the other its points.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat

from selftests.grading import tiny_class

ASSIGNMENT = tiny_class.COURSE
CELL_SECONDS = {"endless": 20}
"""The time limit of a cell in the class of submissions that must reach it, by the name of the class."""
ANSWERS = {"one": 42, "two": "forty-two"}
RIGHT = {name: f"answer = {answer!r}" for name, answer in ANSWERS.items()}
WRONG = "answer = None"
CHECKS = {"one": "assert answer == 42", "two": "import checker\nchecker.check(answer)"}
CHECKER = "def check(answer):\n    assert answer == 'forty-two'\n"

DIED = "one: the kernel died or was killed while running"
TOO_MUCH_MEMORY = "one: killed: it used more than 4 GB of memory"
TOO_LARGE = "one: the notebook with its output is too large for nbgrader's memory limit"
PUT_BACK = "one: missing cells were put back: check"
NOT_A_NOTEBOOK = "one: the file is not a valid notebook"
TIMED_OUT = "one: a cell timed out and ignored the interrupt"
MISSING = "one: missing"
INVALID_TIME = "timestamp.txt has no valid time and was ignored"

MARK = "written-by-a-hostile-submission"
"""Part of the name of every file that a submission tries to leave outside, and of every process it leaves."""
HOSTILE_FILE = f"""
import os
for folder in ("/tmp", os.environ.get("HOME", "/"), os.environ.get("TMPDIR", "/tmp")):
    try:
        open(os.path.join(folder, "{MARK}"), "w").close()
    except OSError:
        pass
raise SystemExit("a file of the submission was run in place of a module")
"""


@dataclass(frozen=True)
class World:
    """What a hostile submission may know about the machine that grades it."""

    course: Path
    home: Path
    """The instructor's home folder."""
    port: int
    """The port of a server on this machine."""

    def fill_in(self, text: str) -> str:
        """Replace `@course@`, `@home@` and `@port@` in a text."""
        for name, value in vars(self).items():
            text = text.replace(f"@{name}@", str(value))
        return text


@dataclass(frozen=True)
class Entry:
    """A hostile submission, by a student of that name."""

    name: str
    does: str
    one: float | None = 0
    two: float | None = 2
    """Points; None if the gradebook must not have the student."""
    remark: str = ""
    code: str = ""
    """Code for the solution cell of notebook `one`, if any, in which `World.fill_in` replaces names."""
    change: Callable[[Path, World], None] | None = None
    """A change to the folder with the two notebooks, which have correct answers or `code`."""
    shown_as: str = ""
    """The student's name in the report, if it differs."""

    def hand_in(self, world: World) -> None:
        """Save the submission where nbgrader finds it."""
        place = world.course / "submitted" / self.name / ASSIGNMENT
        place.mkdir(parents=True)
        for name, answer in RIGHT.items():
            source = world.fill_in(self.code) if self.code and name == "one" else answer
            nbformat.write(make_notebook(name, source), place / f"{name}.ipynb")
        if self.change:
            self.change(place, world)


def make_notebook(name: str, answer: str) -> nbformat.NotebookNode:
    """Create a notebook of the course with this code in its solution cell."""
    return tiny_class.make_notebook(answer, CHECKS[name])


# Changes to a submission.

Change = Callable[[Path, World], None]


def edit(change: Callable[[nbformat.NotebookNode], None]) -> Change:
    """Change the notebook `one`, whose answer is wrong unless the change corrects it."""

    def edited(place: Path, world: World) -> None:
        notebook = make_notebook("one", WRONG)
        change(notebook)
        # nbformat refuses to write some of these; a student's editor may not.
        (place / "one.ipynb").write_text(json.dumps(notebook), encoding="utf-8")

    return edited


def edit_check(**changes) -> Change:
    """Change the check's cell in the notebook `one`, whose answer is wrong."""
    return edit(lambda notebook: notebook.cells[1].update(changes))


def mark_check(**marks) -> Change:
    """Change nbgrader's metadata of the check's cell in the notebook `one`, whose answer is wrong."""
    return edit(lambda notebook: notebook.cells[1].metadata.nbgrader.update(marks))


def write(name: str, content: str | bytes) -> Change:
    """Write a file in the folder, replacing any."""

    def written(place: Path, world: World) -> None:
        content_now = content if isinstance(content, bytes) else content.encode()
        with open(os.path.join(place, name), "wb") as stream:
            stream.write(content_now)

    return written


def link(name: str, to: str) -> Change:
    """Create a symbolic link in the folder, replacing any file."""

    def linked(place: Path, world: World) -> None:
        (place / name).unlink(missing_ok=True)
        (place / name).symlink_to(world.fill_in(to))

    return linked


def all_of(*changes: Change) -> Change:
    def changed(place: Path, world: World) -> None:
        for change in changes:
            change(place, world)

    return changed


def a_folder_for(name: str) -> Change:
    """Create a folder, with a file in it, where a file is expected."""

    def made(place: Path, world: World) -> None:
        (place / name).unlink(missing_ok=True)
        (place / name).mkdir()
        (place / name / "file").touch()

    return made


def a_pipe(place: Path, world: World) -> None:
    (place / "one.ipynb").unlink()
    os.mkfifo(place / "one.ipynb")


def a_sparse_file(place: Path, world: World) -> None:
    with open(place / "sparse", "wb") as stream:
        stream.truncate(3 * 2**30)


def without(*names: str) -> Change:
    return lambda place, world: [(place / name).unlink() for name in names] and None


def swap(place: Path, world: World) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        nbformat.write(make_notebook(other, RIGHT[other]), place / f"{name}.ipynb")


def wrong_two(answer: str) -> Change:
    """Put this answer into notebook `two`."""
    return lambda place, world: nbformat.write(make_notebook("two", answer), place / "two.ipynb")


def a_deep_folder(place: Path, world: World) -> None:
    """Nest folders deeper than Python's recursion limit, with a path short enough to be opened."""
    deep = place
    for _ in range(1200):
        deep = f"{deep}/d"
        os.mkdir(deep)
    with open(f"{deep}/file", "w"):
        pass


def the_folder_itself_a_link(place: Path, world: World) -> None:
    without("one.ipynb", "two.ipynb")(place, world)
    place.rmdir()
    place.symlink_to(world.course / "submitted" / "ann" / ASSIGNMENT)


def correct_answer(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[0].source = RIGHT["one"]


def twice(notebook: nbformat.NotebookNode) -> None:
    """Duplicate both cells, with the same grade ids; the correct answer and the check are last."""
    notebook.cells += make_notebook("one", RIGHT["one"]).cells
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell{number}"
    notebook.cells[1].source = "pass"


def big_text(notebook: nbformat.NotebookNode) -> None:
    correct_answer(notebook)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("many words " * 5_000_000))


def big_output(notebook: nbformat.NotebookNode) -> None:
    correct_answer(notebook)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="x" * 50_000_000)]


def many_outputs(notebook: nbformat.NotebookNode) -> None:
    correct_answer(notebook)
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="x\n")] * 20_000


def other_kernel(notebook: nbformat.NotebookNode) -> None:
    correct_answer(notebook)
    notebook.metadata.kernelspec = {"display_name": "Cobol", "language": "cobol", "name": "../../cobol"}
    notebook.metadata.language_info = {"name": "cobol"}


def newer_format(notebook: nbformat.NotebookNode) -> None:
    correct_answer(notebook)
    notebook.nbformat = 5


def older_format(place: Path, world: World) -> None:
    notebook = nbformat.convert(make_notebook("one", RIGHT["one"]), 3)
    (place / "one.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


# Code for a solution cell. It tries what must be impossible, and the answer is correct only if all of it failed.

# A hog exceeds its limit, by little, and waits to be killed: however slow the machine, no other limit is in reach.
WAIT = """
import time
while True:
    time.sleep(60)
"""
HOG = (
    """
block = b"x" * 2**28
kept = []
while len(kept) < 16:  # with the block, 4.25 GB
    {take}
"""
    + WAIT
)
PRINTER = (
    """
import sys
for _ in range(1200):
    print("x" * 2**20, end={end!r})
    sys.stdout.flush()
"""
    + WAIT
)
# In every folder, files of 64 MB that are kept in some way until there is no more space, or until there are 3 GB.
FILL = """
import array, json, mmap, os, socket
from ipykernel.connect import get_connection_file
sockets = os.path.dirname(json.load(open(get_connection_file()))["ip"])
os.makedirs("d")
total, size, kept = 0, 64 * 2**20, [socket.socketpair()]
for folder in ("/tmp", "/dev", "/dev/shm", "/", "/var/tmp", "/run", os.getcwd(), "d", sockets, "@course@"):
    try:
        while total < 3 * 2**30:
            path = os.path.join(folder, str(total))
            file = os.open(path, os.O_RDWR | os.O_CREAT)
            try:
                {keep}
                os.posix_fallocate(file, 0, size)
                total += size
            finally:
                os.close(file)
    except OSError:
        pass
{finally_}
answer = 42 if total < 1.2 * 2**30 else total
"""
# Kinds of memory that belong to no process; each is tried up to 1.5 GB, and none of it may be had.
UNCOUNTED = """
import ctypes, mmap, os, socket
libc, size, total, kept = ctypes.CDLL(None, use_errno=True), 2**28, 0, []
libc.shmat.restype = ctypes.c_void_p

def mapped(file, flags=mmap.MAP_SHARED):
    kept.append(mmap.mmap(file, size, flags))
    kept[-1].write(bytes(size))
    kept[-1].madvise(mmap.MADV_DONTNEED)  # still in memory, but no longer in the process's

def memory_file():
    file = os.memfd_create("x")
    os.truncate(file, size)
    mapped(file)
    os.close(file)

def memory_in_flight():
    file = os.memfd_create("x")
    os.posix_fallocate(file, 0, size)
    kept.append(socket.socketpair())
    socket.send_fds(kept[-1][0], [b"x"], [file])
    os.close(file)

def device_of_zeros():
    file = os.open("/dev/zero", os.O_RDWR)
    mapped(file)

def segment():
    number = libc.shmget(0, size, 0o1600)
    address = libc.shmat(number, None, 0)
    if number < 0 or address in (None, 2**64 - 1):
        raise OSError("refused")
    ctypes.memset(address, 1, size)
    libc.shmdt(ctypes.c_void_p(address))

for kind in (memory_file, memory_in_flight, device_of_zeros, segment, lambda: mapped(-1)):
    try:
        for _ in range(6):
            kind()
            total += size
    except (OSError, ValueError):
        pass
answer = 42 if not total else total
"""
SOCKET_BUFFERS = (
    """
import os, socket
for _ in range(15):
    if not os.fork():
        break
kept = []
try:
    while True:
        kept += socket.socketpair()
        kept[-1].setblocking(False)
        while True:
            try:
                kept[-1].send(bytes(2**16))
            except BlockingIOError:
                break
except OSError:
    pass
"""
    + WAIT
)
THREADS = (
    """
import threading
threading.stack_size(2**16)
try:
    for _ in range(12_000):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
except RuntimeError:  # the system refuses more
    pass
"""
    + WAIT
)
FORKS = """
import os
while True:
    try:
        os.fork()
    except OSError:  # the system refuses more
        pass
"""
SYSTEM_SETTINGS = """
import glob, os
opened = []
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/hostname",
             "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/1/mem", "/proc/1/oom_score_adj",
             *glob.glob("/proc/sys/fs/*"), *glob.glob("/sys/*/*")):
    try:
        os.close(os.open(path, os.O_WRONLY))
        opened.append(path)
    except OSError:
        pass
answer = 42 if not opened else opened
"""
SYSTEM_CALLS = """
import ctypes, errno, os, platform
libc, arm = ctypes.CDLL(None, use_errno=True), platform.machine() == "aarch64"
buffer = ctypes.create_string_buffer(128)
calls = {
    "add_key": (217 if arm else 248, b"user", b"name", b"secret", 6, -3),
    "request_key": (218 if arm else 249, b"user", b"name", None, -3),
    "keyctl": (219 if arm else 250, 0, -3, 1),
    "bpf": (280 if arm else 321, 5, buffer, 128),
    "perf_event_open": (241 if arm else 298, buffer, 0, -1, -1, 0),
    "userfaultfd": (282 if arm else 323, 1),
    "io_uring_setup": (425, 4, buffer),
    "ptrace": (117 if arm else 101, 16, os.getppid(), 0, 0),
    "process_vm_readv": (270 if arm else 310, os.getppid(), buffer, 0, buffer, 0, 0),
    "unshare": (97 if arm else 272, 0),
    "mq_open": (180 if arm else 240, b"queue", 0o102, 0o600, None),
    "msgget": (186 if arm else 68, 1234, 0o1600),
    "semget": (190 if arm else 64, 1234, 1, 0o1600),
}
allowed = []
for name, arguments in calls.items():
    if libc.syscall(*arguments) >= 0 or ctypes.get_errno() != errno.EPERM:
        allowed.append(name)
answer = 42 if not allowed else allowed
"""
# Into the log that the kernel's process has inherited, past its own streams.
FLOOD = """
import os
answer = 42
with open(f"/proc/{os.getppid()}/fd/2", "wb", buffering=0) as stream:
    for _ in range(64):
        stream.write(b"\\x1b[2J\\x1b]0;title\\x07\\xff" * 2**17)
    try:
        stream.truncate(0)
        answer = "truncated"
    except OSError:
        pass
"""
WRITE_OUTSIDE = """
import os, site, sys, numpy
places = ["/tmp", "/etc", "/usr", "/usr/lib", "/var/tmp", "/", "/opt", sys.prefix, "@home@", "@course@",
          "@course@/submitted/ann/tiny", "@course@/.grading", "@course@/solutions/tiny", "../../..", "../../submitted",
          os.path.dirname(numpy.__file__), os.path.dirname(os.__file__), *site.getsitepackages()]
in_memory = {os.stat(place).st_dev for place in ("/", "/tmp", ".")}
written = []
for place in places:
    try:
        open(os.path.join(place, "MARK"), "w").close()
        written += [place] if os.stat(place).st_dev not in in_memory else []
    except OSError:
        pass
answer = 42 if not written else written
""".replace("MARK", MARK)
READ_OUTSIDE = """
import glob, os
places = ["@course@/gradebook.db", "@course@/solutions", "@course@/submitted/ann/tiny/one.ipynb", "@course@",
          "@course@/autograded", "@course@/.grading", "@course@/nbgrader_config.py", "@home@/.ssh/id_rsa", "@home@",
          "/etc/shadow", "/etc/passwd", "/proc/1/root@course@/gradebook.db", "../../../submitted"]
parent = os.getcwd()
while parent != "/":
    parent = os.path.dirname(parent)
    places += glob.glob(os.path.join(glob.escape(parent), "*.db"))
seen = [value for value in os.environ.values() if "of the instructor" in value]
for path in places:
    try:
        seen += [path] if (os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)) else []
    except OSError:
        pass
answer = 42 if not seen else seen
"""
NETWORK = """
import socket
reached = []
for address in (("127.0.0.1", @port@), ("localhost", @port@), ("1.1.1.1", 53), ("8.8.8.8", 443)):
    try:
        socket.create_connection(address, timeout=1)
        reached.append(address)
    except OSError:
        pass
try:
    reached.append(socket.getaddrinfo("pypi.org", 443))
except OSError:
    pass
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    try:
        reached.append(sender.sendto(b"x", ("10.0.0.1", 53)))
    except OSError:
        pass
answer = 42 if not reached else reached
"""
STAYS = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
DAEMON = f"""
import subprocess, sys, time
code = "import os, signal, time\\nfor n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\\n" + (
    "if os.fork(): os._exit(0)\\nos.setsid()\\nif os.fork(): os._exit(0)\\ntime.sleep(600)")
subprocess.run([sys.executable, "-c", code, "{MARK}"])
subprocess.Popen(["sleep", "600"], start_new_session=True)
answer = 42
"""
STARTUP = """
import os, pathlib, site
lines = "raise SystemExit('run at the start of the next notebook')"
for name in (".pythonrc.py", ".ipython/profile_default/startup/00.py", ".ipython/profile_default/ipython_config.py",
             ".ipython/profile_default/ipython_kernel_config.py", ".jupyter/jupyter_config.py",
             ".local/lib/python3.11/site-packages/usercustomize.py", "sitecustomize.py"):
    for home in {os.environ["HOME"], os.path.expanduser("~"), "@home@", os.getcwd()}:
        try:
            path = pathlib.Path(home, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(lines)
        except OSError:
            pass
os.environ |= {"PYTHONSTARTUP": os.path.expanduser("~/.pythonrc.py"), "PYTHONPATH": os.getcwd(),
               "LD_PRELOAD": os.path.abspath("sitecustomize.py"), "IPYTHONDIR": os.getcwd(), "PATH": os.getcwd()}
answer = 42
"""
NONSENSE = """
kernel = get_ipython().kernel
for kind, content in (
    ("stream", {}), ("display_data", {"data": 7}), ("error", {}), ("update_display_data", {"transient": None}),
    ("no such kind", {"a": 1}), ("clear_output", {}), ("comm_open", {}), ("comm_msg", {"data": []}),
):
    kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent())
answer = 42
"""
PAGES = """
import sys
from IPython.display import HTML, Javascript, display
print("\\x1b[31mred\\x1b[0m \\x1b[2J \\x07 \\x00 </pre></div><script>alert('a text')</script><!--")
display(HTML("<script>document.body.innerHTML = ''</script></div></body></html>"))
display(Javascript("alert('a script')"))
display({"text/latex": "\\\\input{/etc/passwd}", "text/plain": "</script>"}, raw=True)
answer = 42
"""

CODE = [
    Entry("a loop", "never ends", code="while True:\n    pass"),
    Entry("a sleep", "sleeps longer than a cell may take", code="import time\ntime.sleep(3600)"),
    Entry("recursion", "recurses forever", code="def again():\n    return again()\nagain()"),
    Entry("a crash", "reads an invalid address", remark=DIED, code="import ctypes\nctypes.string_at(0)"),
    Entry("an exit", "ends the process at once", remark=DIED, code="import os\nos._exit(0)"),
    Entry("an abort", "aborts", remark=DIED, code="import os\nos.abort()"),
    Entry("a kill", "kills its kernel", remark=DIED, code="import os\nos.kill(os.getpid(), 9)"),
    Entry(
        "kills all",
        "kills every process in sight",
        remark=DIED,
        code="import os\ntry:\n    os.kill(-1, 9)\nfinally:\n    os._exit(1)",
    ),
    Entry(
        "kills its parent",
        "and ends",
        remark=DIED,
        code="import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(1)\nos._exit(1)",
    ),
    Entry("stops its parent", "and goes on", one=2, code="import os\nos.kill(os.getppid(), 19)\nanswer = 42"),
    Entry("SystemExit", "raises it", code="raise SystemExit"),
    Entry(
        "hog of memory",
        "allocates more and more memory",
        remark=TOO_MUCH_MEMORY,
        code=HOG.format(take="kept.append(bytearray(block))"),
    ),
    Entry("memory in files", "allocates memory that belongs to no process", one=2, code=UNCOUNTED),
    Entry("socket buffers", "are full, in sixteen processes", remark=TOO_MUCH_MEMORY, code=SOCKET_BUFFERS),
    Entry("threads", "are 12,000", remark="one: killed: it had more than 512 threads", code=THREADS),
    Entry("files in memory", "fills every file system", one=2, code=FILL.format(keep="pass", finally_="")),
    Entry("system settings", "tries to change the machine's", one=2, code=SYSTEM_SETTINGS),
    Entry("system calls", "tries those that no notebook needs", one=2, code=SYSTEM_CALLS),
    Entry("a flooded log", "prints to descriptors that it has inherited", one=2, code=FLOOD),
    Entry(
        "forks",
        "starts more and more processes",
        remark="one: killed: it had more than 64 processes",
        code=FORKS,
    ),
    Entry(
        "busy",
        "leaves processes that keep the CPUs busy",
        one=2,
        code="import os, time\nfor _ in range(20):\n    if not os.fork():\n        while True:\n            pass\n"
        "time.sleep(2)\nanswer = 42",
    ),
    Entry(
        "a gigabyte of lines",
        "prints it",
        remark="one: killed: it printed too much",
        code=PRINTER.format(end="\n"),
    ),
    Entry(
        "a gigabyte on a line",
        "prints it",
        remark="one: killed: it printed too much",
        code=PRINTER.format(end=""),
    ),
    Entry("writes outside", "tries to write wherever it can name a folder", one=2, code=WRITE_OUTSIDE),
    Entry("reads outside", "searches for solutions, grades, other submissions and secrets", one=2, code=READ_OUTSIDE),
    Entry("network", "calls a server here, others elsewhere, and asks for a name", one=2, code=NETWORK),
    Entry(
        "stays",
        "ignores every signal it can",
        remark=TIMED_OUT,
        code=STAYS,
    ),
    Entry("a daemon", "leaves processes that outlive it", one=2, code=DAEMON),
    Entry(
        "deep inside",
        "makes folders in folders, deeper than Python recurses",
        one=2,
        code="import os\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\nanswer = 42",
    ),
    Entry(
        "deletes its folder",
        "with all that is in it",
        one=2,
        code="import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True)\nanswer = 42",
    ),
    Entry(
        "no rights",
        "takes all rights from its folder",
        one=2,
        code="import os\nos.mkdir('d')\nopen('d/f', 'w').close()\nos.chmod('d', 0)\nos.chmod('.', 0)\nanswer = 42",
    ),
    Entry("elsewhere", "changes to another folder", one=2, code="import os\nos.chdir('/')\nanswer = 42"),
    Entry(
        "closes stdout",
        "and stderr",
        one=2,
        code="import os, sys\nsys.stdout.close()\nos.close(1)\nos.close(2)\nanswer = 42",
    ),
    Entry("startup files", "leaves files and variables for the next notebook", one=2, code=STARTUP),
    Entry(
        "leaves links",
        "where files will be copied to for the next notebook, which lead to another student's",
        one=2,
        code="import os\nfor name in ('one.ipynb', 'two.ipynb', 'checker.py'):\n"
        "    os.path.exists(name) and os.remove(name)\n"
        "    os.symlink('@course@/submitted/ann/tiny/one.ipynb', name)\nanswer = 42",
    ),
    Entry(
        "moves folders",
        "that its own lies in",
        one=2,
        code="import os\nparts = os.getcwd().split('/')\nos.rename('/'.join(parts[:3]), '/tmp/moved')\nanswer = 42",
    ),
    Entry("pages", "prints HTML and control characters that could break a page", one=2, code=PAGES),
    Entry(
        "nonsense", "sends malformed kernel messages", remark="one: nbgrader failed (KeyError: 'name')", code=NONSENSE
    ),
    Entry(
        "an odd output",
        "displays data that the notebook format forbids",
        remark="one: a cell or an output violates the notebook format",
        code="from IPython.display import display\ndisplay({'text/plain': [1, 2]}, raw=True)\nanswer = 42",
    ),
    Entry(
        "unseen files",
        "fills every file system with files that it has deleted and keeps open",
        one=2,
        code=FILL.format(keep="kept.append(os.dup(file)); os.unlink(path)", finally_=""),
    ),
    Entry(
        "mapped files",
        "does so with files that only a mapping keeps",
        one=2,
        code=FILL.format(
            keep="os.truncate(file, size); kept.append(mmap.mmap(file, 4096)); os.unlink(path)", finally_=""
        ),
    ),
    Entry(
        "sent files",
        "does so with files that wait in a socket",
        one=2,
        code=FILL.format(
            keep="socket.send_fds(kept[0][0], [b'x'], [file]); os.unlink(path)",
            finally_="",
        ),
    ),
    Entry(
        "hidden files",
        "does so, and takes all rights from its folder",
        one=2,
        code=FILL.format(keep="pass", finally_="os.chmod('d', 0)"),
    ),
    Entry(
        "another assert",
        "replaces what checks rely on",
        code="import builtins\nbuiltins.AssertionError = AssertionError = type(None)\n"
        "get_ipython().showtraceback = lambda *a, **k: None\n"
        "get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)\n" + WRONG,
    ),
    # Nothing is secure inside one Python process: these two succeed, as the checks' documentation admits.
    Entry(
        "empties the cells",
        "has the kernel discard the check's code",
        one=2,
        code="get_ipython().input_transformers_post.append(lambda lines: ['answer\\n'] and [])\n" + WRONG,
    ),
    Entry(
        "another check",
        "rebinds the check to a function that accepts everything",
        one=2,
        change=wrong_two("import checker\nchecker.check = lambda answer: None\nanswer = None"),
    ),
]

FILES = [
    Entry("an edited check", "replaces the check by `pass`", change=edit_check(source="pass")),
    Entry("a deleted check", "deletes the check", remark=PUT_BACK, change=edit(lambda notebook: notebook.cells.pop())),
    Entry(
        "a check of text", "turns the check into a raw cell", change=edit(lambda notebook: make_raw(notebook.cells[1]))
    ),
    Entry(
        "a skipped check",
        "tags the check to be skipped",
        change=edit(lambda notebook: notebook.cells[1].metadata.update(tags=["skip-execution"])),
    ),
    Entry("more points", "gives itself 200", change=mark_check(points=200)),
    Entry("no check any more", "marks the check as a solution cell", change=mark_check(solution=True)),
    Entry(
        "another id",
        "gives the check another grade id",
        remark=f"{PUT_BACK}; one: cells of another notebook were run, but not graded: other",
        change=mark_check(grade_id="other"),
    ),
    Entry(
        "the same ids",
        "has every graded cell twice, an edited check first",
        one=2,
        remark="one: cells found 2 times, of which number 1 counts: answer; "
        "one: cells found 2 times, of which number 2 counts: check",
        change=edit(twice),
    ),
    Entry("swapped", "has each notebook under the other's name", two=0, change=swap),
    Entry("no JSON", "is not a notebook", remark=NOT_A_NOTEBOOK, change=write("one.ipynb", "not JSON")),
    Entry("no bytes", "is an empty file", remark=NOT_A_NOTEBOOK, change=write("one.ipynb", "")),
    Entry("no text", "is not text", remark=NOT_A_NOTEBOOK, change=write("one.ipynb", b"\xff\xfe\x00")),
    Entry("no cells", "is JSON, but not a notebook", remark=NOT_A_NOTEBOOK, change=write("one.ipynb", "{}")),
    Entry("a list", "is JSON, but not a notebook", remark=NOT_A_NOTEBOOK, change=write("one.ipynb", "[1, 2]")),
    Entry(
        "deep JSON",
        "nests brackets too deeply",
        remark=NOT_A_NOTEBOOK,
        change=write("one.ipynb", '{"cells": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    ),
    Entry(
        "an empty folder",
        "holds nothing",
        two=0,
        remark=f"{MISSING}; two: missing",
        change=without("one.ipynb", "two.ipynb"),
    ),
    Entry("a missing notebook", "holds the other one", remark=MISSING, change=without("one.ipynb")),
    Entry("a folder", "has the notebook's name", remark=MISSING, change=a_folder_for("one.ipynb")),
    Entry("a pipe", "is a named pipe, reading from which blocks", remark=MISSING, change=a_pipe),
    Entry("50 MB of text", "is a big notebook", one=2, change=edit(big_text)),
    Entry("50 MB of output", "is a big notebook", one=2, change=edit(big_output)),
    Entry("20,000 outputs", "is a long notebook", one=2, change=edit(many_outputs)),
    Entry(
        "empty lists",
        "are 60 MB of the notebook's metadata",
        remark=TOO_LARGE,
        change=write(
            "one.ipynb",
            '{"cells": [], "metadata": {"a": [' + "[]," * 20_000_000 + '[]]}, "nbformat": 4, "nbformat_minor": 5}',
        ),
    ),
    Entry(
        "a sparse file",
        "would have 3 GB as a copy",
        one=None,
        two=None,
        remark="not graded: sparse has 3,221 MB, and 100 are the limit of a file",
        change=a_sparse_file,
    ),
    Entry(
        "many files",
        "are 20,000",
        one=None,
        two=None,
        remark="not graded: it has 20,002 files, and 10,000 are the limit",
        change=all_of(*(write(f"file{number}", "") for number in range(20_000))),
    ),
    Entry("another kernel", "asks for one that is not there", one=2, change=edit(other_kernel)),
    Entry("an old format", "is a notebook of format 3", one=2, change=older_format),
    Entry("a new format", "is a notebook of format 5", remark=NOT_A_NOTEBOOK, change=edit(newer_format)),
    Entry(
        "its own checker",
        "brings a module that accepts everything",
        one=2,
        two=0,
        change=all_of(write("checker.py", "def check(answer):\n    pass\n"), wrong_two(WRONG)),
    ),
    Entry(
        "a folder for a module",
        "has one with the name of the instructor's file",
        one=2,
        change=a_folder_for("checker.py"),
    ),
    Entry(
        "its own modules",
        "brings files with the names of modules and settings that grading uses",
        one=2,
        change=all_of(
            *(
                write(f"{name}.py", HOSTILE_FILE)
                for name in (
                    *("grading", "json", "signal", "select", "socket", "tempfile", "shutil", "subprocess", "pathlib"),
                    *("nbgrader", "ipykernel", "ipykernel_launcher", "IPython", "kernel_server", "psutil", "site"),
                    *("sitecustomize", "usercustomize", "ipython_config", "ipython_kernel_config", "jupyter_config"),
                    *("nbgrader_config", "conftest", "random", "traceback", "contextlib"),
                )
            )
        ),
    ),
    Entry(
        "a linked notebook",
        "leads to another student's",
        remark=f"{MISSING}; one.ipynb is a symbolic link and was ignored",
        change=link("one.ipynb", "../../ann/tiny/one.ipynb"),
    ),
    Entry(
        "links",
        "lead to files and folders that are not its own",
        one=2,
        remark="; ".join(
            f"{name} is a symbolic link and was ignored" for name in ("all", "bob", "book", "passwd", "self")
        ),
        change=all_of(
            link("passwd", "/etc/passwd"),
            link("book", "@course@/gradebook.db"),
            link("all", "/"),
            link("bob", "../../bob/tiny"),
            link("self", "."),
        ),
    ),
    Entry(
        "a linked folder",
        "is another student's",
        two=0,
        remark=f"{MISSING}; two: missing; the folder is a symbolic link and was ignored",
        change=the_folder_itself_a_link,
    ),
    Entry(
        "deep folders",
        "are deeper than Python recurses",
        one=2,
        remark="folders nested too deeply were ignored",
        change=a_deep_folder,
    ),
    Entry("no time", "has an invalid time", one=2, remark=INVALID_TIME, change=write("timestamp.txt", "tomorrow")),
    Entry(
        "a far time",
        "has a time that is too large",
        one=2,
        remark=INVALID_TIME,
        change=write("timestamp.txt", "9" * 40),
    ),
    Entry(
        "a folder for a time", "has a folder there", one=2, remark=INVALID_TIME, change=a_folder_for("timestamp.txt")
    ),
    Entry("an early time", "is in year 1", one=2, remark=INVALID_TIME, change=write("timestamp.txt", "0001-01-01")),
    Entry(
        "a long time", "has 20 MB there", one=2, remark=INVALID_TIME, change=write("timestamp.txt", b" " * 20_000_000)
    ),
    Entry(
        "a linked time",
        "never ends",
        one=2,
        remark="timestamp.txt.invalid is a symbolic link and was ignored; " + INVALID_TIME,
        change=link("timestamp.txt", "/dev/zero"),
    ),
    Entry(
        "names of bytes",
        "has files whose names are not UTF-8",
        one=2,
        remark="th\\xe9.ipynb is not a notebook of the assignment; l\\xedne is a symbolic link and was ignored",
        change=all_of(write(os.fsdecode(b"th\xe9.ipynb"), "{}"), link(os.fsdecode(b"l\xedne"), "/")),
    ),
    Entry(
        "names of signs",
        "has files whose names move a terminal's cursor",
        one=2,
        remark="\\x1b[2J\\r\\n.ipynb is not a notebook of the assignment",
        change=write("\x1b[2J\r\n.ipynb", "{}"),
    ),
]

NAMES = [
    Entry(name, "has an odd name", one=2)
    for name in (
        "-rf",
        "--help",
        "$(touch pwned); `true` && rm",
        'it\'s "quoted"',
        "Zoë Ünïcode 🦊",
        "{student_id}",
        "%s [a-z]* ?",
        "=1+1",
        "@sum",
        "\t+1",
        "n" * 255,
    )
] + [
    Entry(
        "two\nlines",
        "has a name for which nbgrader writes no feedback, nor for students after it",
        one=None,
        two=None,
        remark="not graded: its folder name contains a line break",
    ),
    Entry(
        ".hidden",
        "has a name that nbgrader does not find",
        one=None,
        two=None,
        remark="not graded: its folder name begins with a dot",
    ),
    Entry(
        os.fsdecode(b"th\xe9"),
        "has a name that is not UTF-8",
        one=None,
        two=None,
        remark="not graded: its folder name is not valid UTF-8",
        shown_as="th\\xe9",
    ),
]

ALL = [*CODE, *FILES, *NAMES]

ENDLESS = "a loop, a sleep, stays"
"""The submissions that only the time limit of a cell stops."""
SAMPLE = """
an exit, kills its parent, forks, hog of memory, writes outside, reads outside, network, leaves links,
an edited check, a deleted check, more points, no JSON, its own checker, a linked notebook, $(touch pwned); `true` && rm
"""
"""The most important kinds, which `make test` grades."""
USUAL = """
recursion, a kill, stops its parent, memory in files, threads, a gigabyte of lines, mapped files, sent files,
a flooded log, system settings, system calls,
a daemon, deletes its folder, startup files, pages, another assert, another check, a skipped check,
the same ids, swapped, deep JSON, an empty folder, a missing notebook, a folder, 50 MB of text, another kernel,
its own modules, links, a linked folder, deep folders, no time, a long time, a linked time, names of bytes,
@sum, Zoë Ünïcode 🦊
"""
"""One or two more of each kind, which `make test-all` grades too, with those that cannot be graded at all."""


def named(names: str) -> list[Entry]:
    """Return the entries with these names."""
    wanted = names.replace("\n", " ").strip().split(", ")
    assert not set(wanted) - {entry.name for entry in ALL}
    return [entry for entry in ALL if entry.name in wanted]


def bank_without_sample() -> list[Entry]:
    """Return the usual entries or, if the environment variable `HOSTILE` is `all`, all that are in no other class."""
    if os.environ.get("HOSTILE") == "all":
        return [entry for entry in ALL if entry not in named(SAMPLE) + named(ENDLESS)]
    return named(USUAL) + [entry for entry in NAMES if entry.one is None]


CLASSES = {"sample": named(SAMPLE), "endless": named(ENDLESS), "others": bank_without_sample()}
"""The entries, as classes to be graded."""


def make_raw(cell: nbformat.NotebookNode) -> None:
    """Turn a code cell into a raw one."""
    cell.cell_type = "raw"
    for key in ("outputs", "execution_count"):
        cell.pop(key, None)


def title(entry: Entry) -> str:
    """Return a short name for a test id."""
    return re.sub(r"[^\w ,-]", "_", entry.shown_as or entry.name)[:40]
