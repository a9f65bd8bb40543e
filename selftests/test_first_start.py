"""JupyterLab as a student first sees it, without settings of their own: the text, and nothing in front of it."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.support.ui import WebDriverWait

from selftests import REPOSITORY
from selftests.browsing import keep_picture, make_command, wait

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needed_programs")]

READY = "document.querySelector(\".jp-NotebookPanel-toolbar .jp-Notebook-ExecutionIndicator[data-status='idle']\")"
SIDE_BARS = "[...document.querySelectorAll('.jp-SideBar .lm-TabBar-tab')].map((tab) => tab.title).join('; ')"
NOTIFICATIONS = "[...document.querySelectorAll('.Toastify__toast')].map((toast) => toast.innerText).join('; ')"

# The last to be shown, well after the notebook: what asks for news waits until JupyterLab has been restored.
SECONDS_FOR_NEWS = 10


def make_lab(arguments: str) -> list[str]:
    return make_command("lab", f"LAB_ARGS={arguments}")


def readme_command(arguments: str) -> list[str]:
    """The README's way to start JupyterLab without make, in this environment."""
    (line,) = re.findall(r"^\.venv/bin/python (-m jupyterlab .*)$", (REPOSITORY / "README.md").read_text("utf-8"), re.M)
    as_root = ["--allow-root"] if os.getuid() == 0 else []
    return [sys.executable, *shlex.split(line), *as_root, *arguments.split()]


@contextmanager
def jupyterlab(command: Callable[[str], list[str]], folder: Path) -> Iterator[str]:
    """Start JupyterLab in a copy of the exercises, as somebody without any settings; give the notebook's address."""
    for part in ("exercises", "lab_settings"):
        shutil.copytree(REPOSITORY / part, folder / part)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER_", "XDG_"))}
    (folder / "home").mkdir()
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command(f"--no-browser --port {port} --IdentityProvider.token=first"),
            cwd=folder,
            env=environment | {"HOME": str(folder / "home")},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield f"http://localhost:{port}/lab/tree/00_introduction.ipynb?token=first"
    finally:
        # SIGTERM does not always end it. Its kernel ends with it.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def open_notebook(browser: webdriver.Chrome, url: str) -> None:
    """Open it as soon as the server answers, and wait until its kernel has started."""
    answering = WebDriverWait(browser, 60, ignored_exceptions=[WebDriverException])
    answering.until(lambda browser: browser.get(url) is None)
    wait(browser, lambda browser: browser.execute_script(f"return Boolean({READY})"), "no kernel")


def seen(browser: webdriver.Chrome) -> tuple[bool, bool]:
    """Whether there is a side bar for making assignments, and a question about news."""
    side_bars, notifications = (browser.execute_script(f"return {texts}") for texts in (SIDE_BARS, NOTIFICATIONS))
    return "Create Assignment" in side_bars, "Jupyter news" in notifications


@pytest.mark.parametrize("command", [make_lab, readme_command])
def test_nothing_stands_beside_or_over_the_text(browser, tmp_path, command):
    with jupyterlab(command, tmp_path) as url:
        open_notebook(browser, url)
        with pytest.raises(TimeoutException):
            wait(browser, lambda browser: any(seen(browser)), "nothing", SECONDS_FOR_NEWS)
        keep_picture(browser, f"first_start_{command.__name__}")


def test_without_the_settings_both_are_seen(browser, tmp_path):
    """If this fails, JupyterLab or nbgrader has changed, and the test above may see too little."""
    without = f"--LabApp.app_settings_dir={tmp_path / 'none'}"
    with jupyterlab(lambda arguments: make_lab(f"{arguments} {without}"), tmp_path) as url:
        open_notebook(browser, url)
        wait(browser, lambda browser: all(seen(browser)), "no question about news, or no side bar")
