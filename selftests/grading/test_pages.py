"""The pages that an instructor opens, in Chromium: Formgrader, feedback and report, of hostile and honest students."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
from nbconvert import HTMLExporter
from selenium import webdriver

from grading.class_report import __main__ as class_report
from selftests import REPOSITORY
from selftests.browsing import ATTENTION, HEAT_MAP, keep_whole_page, wait
from selftests.grading import tiny_class
from selftests.grading.page_payloads import LEAVES, NAMES, OVERLAY, PAYLOADS, Payload
from selftests.grading.tiny_class import COURSE, FEEDBACK, RIGHT, SETTINGS, make_notebook

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needed_programs")]

# As in nbgrader_config.py, but with a kernel that loads no model.
PAGES = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from grading.preprocessors import AUTOGRADE, SANITIZE
from grading.safe_pages import EscapeNames, escape_formgrader
c.Autograde.sanitize_preprocessors = SANITIZE
c.Autograde.autograde_preprocessors = AUTOGRADE
c.HTMLExporter.preprocessors = [EscapeNames]
escape_formgrader()
c.IPKernelApp.log_level = "ERROR"
os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
os.environ["PYTHONPATH"] = {str(REPOSITORY)!r}
"""
MAPS = """
import torch
from utils.diagrams import block_diagram
from utils.plots import attention_view, heat_map, imshow
from utils.published_view import published_beside
from IPython.display import HTML, display
imshow(torch.randn(4, 5), title="A map", x=list("abcde"))
display(HTML(heat_map(torch.randn(2, 3, 4)).to_html(include_plotlyjs=False)))
display(attention_view(torch.rand(2, 3, 3).tril(), ["<|endoftext|>", "When", "Mary"], ["9.9", "9.6"]))
display(block_diagram())
display(published_beside(torch.zeros(12, 15), "resid_pre"))
"""
INVALID_TIMES = ["0001-01-01 00:00:00", "x" * 20_000_000, "2026-01-02\x1b[2J"]  # test_tables.py has more
TOUCH_ALL = """
for (const element of document.querySelectorAll('#notebook-container *')) {
  if (element.closest('.scoring-buttons')) continue;
  for (const type of ['mouseover', 'focus', 'click', 'toggle']) element.dispatchEvent(new Event(type));
  if (/^\\s*(j\\s*a\\s*v|data)/i.test(element.getAttribute('href') || '')) element.click?.();
  if (element.formAction && element.getAttribute('formaction')) element.click?.();
}
"""
COVERS = """
return [...document.querySelectorAll('#notebook-container *')]
  .filter(e => ['fixed', 'sticky'].includes(getComputedStyle(e).position)).map(e => e.outerHTML)
"""


@dataclass(frozen=True)
class Beacons:
    """A server that notes which payloads called it."""

    address: str
    calls: list[str]

    def called(self) -> set[str]:
        found = {call.strip("/") for call in self.calls} - {"favicon.ico"}
        self.calls.clear()
        return found


@pytest.fixture
def beacons() -> Iterator[Beacons]:
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path.split("?")[0])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Beacons(f"http://127.0.0.1:{server.server_port}", calls)
        server.shutdown()


def hostile_notebook(address: str, payloads: list[Payload], shown: bool = False) -> nbformat.NotebookNode:
    notebook = make_notebook(RIGHT)
    notebook.cells[1:1] = [payload.cell(address, shown) for payload in payloads]
    fire = f"<script>fetch(`{address}/metadata`)</script>"
    notebook.metadata.kernelspec.display_name = fire
    for cell in notebook.cells:
        cell.metadata.tags = [f'"></div>{fire}']
    return notebook


@pytest.fixture
def course(empty_course: Path, tmp_path: Path, beacons: Beacons) -> Path:
    """The tiny course with a graded class: an honest student, and hostile notebooks, names and times."""
    course = shutil.copytree(empty_course, tmp_path / "course")
    (course / "nbgrader_config.py").write_text(SETTINGS + PAGES + FEEDBACK)
    hand_in(course, "honest", make_notebook(f"{RIGHT}\n{MAPS}"))
    hand_in(course, "hostile", hostile_notebook(beacons.address, [*PAYLOADS, *LEAVES, OVERLAY]))
    for name in NAMES:
        hand_in(course, name, make_notebook(RIGHT))
    for number, time in enumerate(INVALID_TIMES):
        place = hand_in(course, f"time {number}", make_notebook(RIGHT))
        (place / "timestamp.txt").write_text(time)
    (hand_in(course, "early", make_notebook(RIGHT)) / "timestamp.txt").write_text("2098-01-02 03:04:05")
    (hand_in(course, "clock", make_notebook(RIGHT)) / "timestamp.txt").mkdir()
    tiny_class.grade(course)
    with tiny_class.gradebook(course) as book:
        book.update_or_create_student("hostile", first_name=NAMES[0], last_name=NAMES[0])
    return course


def hand_in(course: Path, student: str, notebook: nbformat.NotebookNode) -> Path:
    place = tiny_class.hand_in(course, student, {})
    nbformat.write(notebook, place / "one.ipynb")
    return place


@pytest.fixture
def formgrader(course: Path, tmp_path: Path) -> Iterator[str]:
    """The address of Formgrader, in a Jupyter server in the course's folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--IdentityProvider.token=", "--ServerApp.password="]
    as_root = ["--allow-root"] if os.getuid() == 0 else []
    log = tmp_path / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "server", *options, *as_root],
            cwd=course,
            env=os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "PYTHONPATH": str(REPOSITORY)},
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}/formgrader"
    try:
        tiny_class.wait_for(lambda: server.poll() is not None or answers(f"{address}/manage_assignments"), 120)
        assert server.poll() is None, log.read_text()
        yield address
    finally:
        server.terminate()
        server.wait()


def answers(address: str) -> str:
    """Return what an address answers; empty where it does not."""
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def uncleaned_page(folder: Path, address: str, payloads: list[Payload]) -> str:
    """Write a page of payloads that nothing has cleaned; return its address."""
    notebook = hostile_notebook(address, payloads, shown=True)
    page = folder / "uncleaned.html"
    html, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)
    # nbconvert has jQuery from the network, Formgrader from its server.
    page.write_text(html.replace("<head>", "<head><script>window.$ = () => null</script>"))
    return page.as_uri()


def visit(browser: webdriver.Chrome, address: str, beacons: Beacons) -> set[str]:
    """Open a page, touch everything in it, and return what ran or was loaded."""
    browser.get(address)
    title = browser.title
    for script in (TOUCH_ALL, "document.querySelectorAll('form').forEach(form => form.submit())"):
        browser.execute_script(script)
    browser.execute_async_script("setTimeout(arguments[0], 2000)")
    changed = {browser.title} if browser.title != title or title == "name" else set()
    return beacons.called() | changed


def test_no_page_runs_what_a_student_wrote(
    browser: webdriver.Chrome, course: Path, formgrader: str, beacons: Beacons, monkeypatch: pytest.MonkeyPatch
):
    browser.set_page_load_timeout(60)
    # The payloads work where nothing is cleaned.
    live = {payload.name for payload in PAYLOADS if payload.live}
    assert live - visit(browser, uncleaned_page(course, beacons.address, PAYLOADS), beacons) == set()
    assert "meta-refresh" in visit(browser, uncleaned_page(course, beacons.address, LEAVES[:1]), beacons)

    students = sorted(os.listdir(course / "submitted"))
    assert tiny_class.points(course) == dict.fromkeys(students, 2)
    tiny_class.nbgrader(course, "generate_feedback")
    monkeypatch.chdir(course)
    assert class_report.main([]) == 0

    with tiny_class.gradebook(course) as book:
        ids = {
            submission.student.id: notebook.id
            for submission in book.assignment_submissions(COURSE)
            for notebook in submission.notebooks
            if notebook.name == "one"
        }
    shown = ("hostile", "honest", *NAMES)
    named = [f"manage_students/{quote(name, safe='')}" for name in NAMES]
    pages = {
        "report": (course / ".grading" / COURSE / "report.html").as_uri(),
        **{f"feedback of {name}": (course / "feedback" / name / COURSE / "one.html").as_uri() for name in shown},
        **{f"formgrader of {name}": f"{formgrader}/submissions/{ids[name]}/" for name in shown},
        **{
            f"formgrader {place}": f"{formgrader}/{place}"
            for place in (
                f"manage_submissions/{COURSE}",
                f"gradebook/{COURSE}/one",
                "manage_students",
                *named,
                *(f"{place}/{COURSE}" for place in named),
            )
        },
    }
    assert {name: ran for name, address in pages.items() if (ran := visit(browser, address, beacons))} == {}
    for name in ("feedback of hostile", "formgrader of hostile"):
        browser.get(pages[name])
        assert browser.execute_script(COVERS) == []
        keep_whole_page(browser, name.replace(" ", "_"))
        assert ",Safe" in browser.execute_script("return document.querySelector('script[src*=mathjax]').src")

    # The honest student's figures are there.
    for name in ("feedback of honest", "formgrader of honest"):
        browser.get(pages[name])
        wait(browser, there_are(2, ".js-plotly-plot"), f"{name}: heat maps")
        wait(browser, there_are(3, HEAT_MAP), f"{name}: heat maps' squares")
        wait(browser, there_are(1, ATTENTION), f"{name}: the attention view")
        wait(browser, there_are(1, "img[src^='data:image/svg']"), f"{name}: the diagram")
        wait(browser, there_are(1, "details summary ~ * table"), f"{name}: the folded map")
        keep_whole_page(browser, name.replace(" ", "_"))

    # Invalid times do not hide the class, and are named.
    listed = answers(f"{formgrader}/api/submissions/{COURSE}")
    assert [name for name in students if f'"{name}"' not in listed and name not in NAMES] == []
    remarks = tiny_class.remarks(course)
    late = ["timestamp.txt has a time in the future"]
    invalid = ["timestamp.txt has no valid time and was ignored"]
    times = {"early": late, "clock": invalid} | {f"time {number}": invalid for number in range(len(INVALID_TIMES))}
    assert remarks == {name: "; ".join(["two: missing", *times.get(name, ())]) for name in students}

    # nbgrader's own command cleans too.
    cleaned = contents(course)
    tiny_class.nbgrader(course, "autograde", "--force", "--student=hostile")
    assert contents(course) == cleaned


def there_are(count: int, selector: str) -> Callable[[webdriver.Chrome], bool]:
    return lambda browser: len(browser.find_elements("css selector", selector)) >= count


def contents(course: Path) -> list[object]:
    """Return what the hostile notebook shows, but for the figures' random names."""
    notebook = nbformat.read(course / "autograded" / "hostile" / COURSE / "one.ipynb", as_version=4)
    shown: list[object] = []
    for cell in notebook.cells:
        shown.append(
            cell.source if cell.cell_type != "code" else [sorted(each.get("data", ())) for each in cell.outputs]
        )
    return shown
