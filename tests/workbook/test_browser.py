"""What a reader sees: notebooks in JupyterLab, and the pages of `make preview`, in a browser without a network.

Set `SCREENSHOTS` to a folder to keep a picture of every page.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as condition
from selenium.webdriver.support.ui import WebDriverWait

REPOSITORY = Path(__file__).parents[2]
COURSE = "activation_patching"
NOTEBOOKS = ("00_introduction", "01_ioi_metric", "05_circuit")
NOT_BEGUN = "{} is not implemented yet: fill in its cell, run it, and run this again."
ERRORS = {
    "00_introduction": [],
    "01_ioi_metric": [NOT_BEGUN.format("ioi_metric")],
    "05_circuit": [NOT_BEGUN.format("my_circuit")],
}

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

HEAT_MAP = ".js-plotly-plot .main-svg .hm image"
ATTENTION = "[id^='circuits-vis'] canvas"
ERROR = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"


@pytest.fixture(scope="module", autouse=True)
def needed_programs() -> None:
    """Skip, so that it can be read, where there is no browser; on a CI machine, fail."""
    needed = {"chromium": CHROMIUM, "chromedriver": CHROMEDRIVER, "make": shutil.which("make")}
    missing = [name for name, path in needed.items() if path is None]
    if missing:
        reason = f"PAGES NOT LOOKED AT: {' and '.join(missing)} not found; Debian has chromium-driver and make"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder of three notebooks, away from the repository, so that nobody's work in it is run or changed."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "solutions" / COURSE).mkdir(parents=True)
    for name in NOTEBOOKS:
        shutil.copy(REPOSITORY / "solutions" / COURSE / f"{name}.ipynb", folder / "solutions" / COURSE)
    shutil.copy(REPOSITORY / "nbgrader_config.py", folder)
    return folder


@pytest.fixture(scope="module")
def lab_url(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address that `make lab` prints; the server stops when the tests are done."""
    make(course, "release").check_returncode()
    log = course / "lab.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("w") as output:
        server = subprocess.Popen(
            make_command("lab", f"LAB_ARGS=--no-browser --port {port}"),
            cwd=course,
            env=os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path_factory.mktemp("config"))},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield wait_for_address(server, log, port)
    finally:
        stop(server)


@pytest.fixture(scope="module")
def preview(course: Path) -> Path:
    """The folder of pages that `make preview` writes."""
    done = make(course, "preview")
    assert done.returncode == 0, done.stderr
    return course / "preview"


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium, without a window, that finds no host but this machine and keeps a log of its requests."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1440,1000",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, Service(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def make_command(*arguments: str) -> list[str]:
    """Our make targets, run in the current folder with this very environment, which counts as installed."""
    installed = f"{sys.prefix}/.workbook"
    return ["make", f"--file={REPOSITORY / 'Makefile'}", f"--old-file={installed}", f"VENV={sys.prefix}", *arguments]


def make(folder: Path, target: str) -> subprocess.CompletedProcess:
    return subprocess.run(make_command(target), cwd=folder, capture_output=True, text=True, timeout=120)


def wait_for_address(server: subprocess.Popen, log: Path, port: int) -> str:
    """Wait until the server has printed its address, token included."""
    address = re.compile(rf"http://(?:localhost|127\.0\.0\.1):{port}/lab/tree/00_introduction.ipynb\?token=\w+")

    def printed(_: None) -> str | None:
        assert server.poll() is None, f"make lab ended:\n{log.read_text()}"
        found = address.search(log.read_text())
        return found and found[0]

    return WebDriverWait(None, 60).until(printed, f"make lab printed no address:\n{log.read_text()}")


def stop(server: subprocess.Popen) -> None:
    """Stop the server, which stops its kernels; kill it if it will not."""
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait(browser: webdriver.Chrome, until: Callable, what: str, seconds: float = 60):
    return WebDriverWait(browser, seconds).until(until, f"waited {seconds} s in vain: {what}")


def click(browser: webdriver.Chrome, label: str, text: str) -> None:
    """Click a menu or one of its entries, by its text."""
    here = (By.XPATH, f"//*[contains(@class, '{label}')][text()='{text}']")
    wait(browser, condition.element_to_be_clickable(here), f"no {text} in the menu").click()


def run_all_cells(browser: webdriver.Chrome) -> None:
    """Run all cells from the menu, once the kernel is there, and wait until the last one is done, or one fails.

    JupyterLab runs no cell after one that fails.
    """
    wait(browser, kernel_is_idle, "no kernel")
    click(browser, "lm-MenuBar-itemLabel", "Run")
    click(browser, "lm-Menu-itemLabel", "Run All Cells")
    wait(browser, all_run_or_failed, "the last cell has not been run", 90)
    wait(browser, kernel_is_idle, "the kernel is still busy")


def all_run_or_failed(browser: webdriver.Chrome) -> bool:
    return last_prompt(browser).strip("[]:").isdigit() or bool(browser.find_elements(By.CSS_SELECTOR, ERROR))


def kernel_is_idle(browser: webdriver.Chrome) -> bool:
    """Whether the status bar says so; it names the kernel only once it is connected."""
    bars = browser.find_elements(By.ID, "jp-main-statusbar")
    return bool(bars) and "(ipykernel) | Idle" in bars[0].text


def last_prompt(browser: webdriver.Chrome) -> str:
    """What stands beside the last code cell: `[ ]:` before it has run, `[*]:` while it runs, its number after."""
    cells = browser.find_elements(By.CSS_SELECTOR, ".jp-NotebookPanel .jp-CodeCell .jp-InputPrompt")
    return cells[-1].get_attribute("textContent")


def assert_drawn(browser: webdriver.Chrome, selector: str, smallest: int) -> None:
    """Wait until some element of this kind is on the page and at least `smallest` pixels wide."""

    def drawn(_: webdriver.Chrome) -> WebElement | None:
        for element in browser.find_elements(By.CSS_SELECTOR, selector):
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            if element.size["width"] >= smallest and element.size["height"] >= 20:
                return element
        return None

    wait(browser, drawn, f"no {selector} of {smallest} pixels is drawn", 20)


def keep_picture(browser: webdriver.Chrome, name: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def network_events(browser: webdriver.Chrome) -> list[tuple[str, dict]]:
    """What the browser asked for and got since the last call, as the names and contents of its network events."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [(message["method"], message["params"]) for message in messages if message["method"].startswith("Network.")]


def assert_asks_nobody_else(events: list[tuple[str, dict]], allowed: str) -> None:
    """Every request begins with `allowed` or carries its own data."""
    asked = {params["request"]["url"] for method, params in events if method == "Network.requestWillBeSent"}
    assert asked, "the browser kept no log of its requests"
    assert not [url for url in asked if not url.startswith((allowed, "data:", "blob:"))]


def failed_requests(events: list[tuple[str, dict]]) -> list[str]:
    """Addresses that answered with an error."""
    answers = [params["response"] for method, params in events if method == "Network.responseReceived"]
    return [f"{answer['status']} {answer['url']}" for answer in answers if answer["status"] >= 400]


def severe_messages(browser: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_in_jupyterlab(browser, lab_url, name):
    browser.get(lab_url.replace("00_introduction.ipynb?", f"{name}.ipynb?reset&"))
    run_all_cells(browser)
    assert_drawn(browser, HEAT_MAP, 200)
    keep_picture(browser, f"lab_{name}_heat_map")
    assert_drawn(browser, ATTENTION, 400)
    keep_picture(browser, f"lab_{name}_attention")

    errors = [error.text for error in browser.find_elements(By.CSS_SELECTOR, ERROR)]
    assert errors == ERRORS[name]

    events = network_events(browser)
    assert_asks_nobody_else(events, lab_url.split("/lab")[0])
    assert failed_requests(events) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_preview_from_the_file_system(browser, preview, name):
    browser.get((preview / f"{name}.html").as_uri())
    assert_drawn(browser, HEAT_MAP, 200)
    keep_picture(browser, f"preview_{name}_heat_map")
    assert_drawn(browser, ATTENTION, 400)
    keep_picture(browser, f"preview_{name}_attention")
    assert browser.find_elements(By.CSS_SELECTOR, ERROR) == []
    assert_asks_nobody_else(network_events(browser), "file://")
    assert severe_messages(browser) == []
