"""A browser without a network, and what the tests of pages ask of it.

Set `SCREENSHOTS` to a folder to keep a picture of every page.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from selftests import REPOSITORY

COURSE = "activation_patching"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

HEIGHT_OF_A_PICTURE = 2000

HEAT_MAP = ".js-plotly-plot .main-svg .hm image"
ATTENTION = "[id^='circuits-vis'] canvas"
KINDS_OF_FIGURES = (
    ".jp-OutputArea .js-plotly-plot",
    ".jp-OutputArea .attention-view",
    ".jp-OutputArea svg[role='img']",
    ".jp-OutputArea details:has(table)",
)
"""Heat maps, attention views, diagrams and published maps, as `Figures` counts them."""
ERROR = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"


@pytest.fixture(scope="session")
def needed_programs() -> None:
    """Skip, so that it can be read, where there is no browser; on a CI machine, fail."""
    needed = {"chromium": CHROMIUM, "chromedriver": CHROMEDRIVER, "make": shutil.which("make")}
    missing = [name for name, path in needed.items() if path is None]
    if missing:
        reason = f"PAGES NOT LOOKED AT: {' and '.join(missing)} not found; Debian has chromium-driver and make"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture
def browser(needed_programs: None) -> Iterator[webdriver.Chrome]:
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
    return ["make", f"--file={REPOSITORY / 'Makefile'}", "INSTALL=:", f"VENV={sys.prefix}", *arguments]


def make(folder: Path, target: str, seconds: float = 120) -> subprocess.CompletedProcess:
    """Make a target in a folder away from the repository, whose packages are found though not all are installed."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        make_command(target), cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds
    )


def wait(browser: webdriver.Chrome, until: Callable, what: str, seconds: float = 60):
    return WebDriverWait(browser, seconds).until(until, f"waited {seconds} s in vain: {what}")


def keep_picture(browser: webdriver.Chrome, name: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def keep_whole_page(browser: webdriver.Chrome, name: str) -> None:
    """Keep pictures of a page from top to bottom, light with its details folded and dark with its details open."""
    if not os.environ.get("SCREENSHOTS"):
        return
    for scheme, unfolded in (("light", "false"), ("dark", "true")):
        colours = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", colours)
        browser.execute_script(f"document.querySelectorAll('details').forEach(d => {{ d.open = {unfolded} }})")
        whole = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        for number, top in enumerate(range(0, int(whole["height"]), HEIGHT_OF_A_PICTURE), start=1):
            part = whole | {"y": top, "height": min(HEIGHT_OF_A_PICTURE, whole["height"] - top), "scale": 1}
            picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": part, "captureBeyondViewport": True})
            file = Path(os.environ["SCREENSHOTS"]) / f"{name}_{scheme}_{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(base64.b64decode(picture["data"]))


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
