"""Seen from outside, students' code never runs as root, and as the instructor where that is an ordinary user."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from grading.kernels import sandbox
from selftests.grading.kernel_servers import make_kernel_server, run_code_meanwhile
from selftests.grading.tiny_class import COURSE, RIGHT, hand_in, make_notebook, needs_sandbox, points, wait_for

pytestmark = needs_sandbox

NOBODY = 65534
MARK = f"{os.getpid()}123456"
"""For how many seconds the sandboxed processes sleep, by which they are found from outside."""
SLEEP = f"import subprocess; subprocess.run(['sleep', '{MARK}'])\n{RIGHT}"


def sleeping() -> list[psutil.Process]:
    """List the sandboxed processes, which sleep until they are killed."""
    return [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", MARK]]


def user_of(process: psutil.Process) -> int:
    """Return a process's only user, who has a group of the same number and no others, or is the one who tests."""
    (user,) = {*process.uids()}
    if user != os.getuid():
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        assert ({*process.gids()}, status["Groups"].split()) in (({user}, []), ({user}, [str(user)]))
    return user


def is_allowed(user: int) -> bool:
    """Return whether students' code may run as a user: one of the sandbox's own, or the one who grades."""
    return user == os.getuid() if os.getuid() else sandbox.FIRST_ID < user < 2**31


def test_a_kernel_runs_as_an_ordinary_user_until_its_server_is_stopped(scratch: Path):
    server = make_kernel_server(scratch)
    server.ensure_ready()
    run_code_meanwhile(server, SLEEP)
    (process,) = wait_for(sleeping)
    user = user_of(process)
    server.stop()
    wait_for(lambda: not process.is_running())
    assert is_allowed(user)


@pytest.mark.slow
@pytest.mark.parametrize("by_root", [True, False])
def test_a_class_and_the_answer_graded_before_it_run_as_ordinary_users(
    scratch: Path, empty_course: Path, by_root: bool
):
    if by_root and os.getuid():
        pytest.skip("tests do not run as root")
    course = shutil.copytree(empty_course, scratch / "course")
    nbformat.write(make_notebook(SLEEP), course / "solutions" / COURSE / "one.ipynb")
    for student in ("ann", "bob"):
        hand_in(course, student, {"one": SLEEP})
    command = [*([] if by_root else as_ordinary_user(scratch)), sys.executable, "-m", "grading", "--workers", "2"]
    users = []
    with subprocess.Popen(command, cwd=course, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as grading:
        while grading.poll() is None:
            for process in sleeping():
                with contextlib.suppress(psutil.NoSuchProcess):
                    users.append(user_of(process))
                    process.kill()
                    process.wait()
            time.sleep(0.1)
        assert grading.returncode == 0, grading.stdout.read()
    assert points(course) == {"ann": 2, "bob": 2}
    assert len(users) == 1 + 2  # the right answer, and two students
    assert len(set(users)) == (len(users) if by_root else 1)
    assert all(map(is_allowed, users)) if by_root else set(users) == {os.getuid() or NOBODY}


def as_ordinary_user(folder: Path) -> list[str]:
    """Return what precedes the command of an ordinary user, to whom the folder then belongs."""
    if os.getuid():
        return []
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)
    isolation = ["--unshare-uts", "--bind", "/proc", "/proc"]
    files = sandbox.contents(["--bind", str(folder), str(folder)], {}, {sandbox.ROOT: sandbox.ROOT})
    files += ["--setenv", "HOME", str(folder), "--setenv", "TMPDIR", str(folder)]
    files += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    become = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--inh-caps=-all"]
    return ["bwrap", *isolation, *files, *become, "env", f"--chdir={folder / 'course'}"]
