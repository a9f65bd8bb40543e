"""What people see of a notebook: run in JupyterLab and in Jupyter Notebook, in a browser without a network."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from jaxtyping import Float
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as condition
from selenium.webdriver.support.ui import Select, WebDriverWait
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from selftests import REPOSITORY
from selftests.browsing import (
    ATTENTION,
    COURSE,
    ERROR,
    HEAT_MAP,
    KINDS_OF_FIGURES,
    assert_asks_nobody_else,
    failed_requests,
    keep_picture,
    make_command,
    network_events,
    severe_messages,
    wait,
)
from selftests.claim_maps import ioi_mini
from selftests.figures import FIGURES, Figures
from tests.exercises import EXERCISES
from utils.lab_widgets.maps import Choice, compute_map, run_pairs
from utils.lab_widgets.prompts import first_fields, read_pairs

pytestmark = pytest.mark.usefixtures("needed_programs")


# Four notebooks show a map of the learner's own, and two then the published one, which the exercises do not come to.
FIGURES_OF_THE_EXERCISES = FIGURES | {
    "02_residual_stream": Figures(6, 0, 0, 1),
    "03_attention_heads": Figures(1, 0, 0, 0),
    "04_attention_patterns": Figures(4, 1, 1, 1),
    "05_circuit": Figures(4, 1, 3, 0),
}

NOT_BEGUN = "{} is not implemented yet: fill in its cell, run it, and run this again."
STUB = "NotImplementedError:"
OTHER_ERRORS = {
    "02_residual_stream": [STUB, "NameError: name 'own_resid_pre' is not defined"],
    "03_attention_heads": [STUB, "NameError: name 'own_head_out' is not defined", STUB],
    "04_attention_patterns": [STUB],
}
"""Where a cell of an exercise as handed out uses a function that is not written yet."""

REFUSED_FONT = re.compile(r"^(403 )?http.*/static/notebook/\w+\.woff2?( |$)")
PROMPT = ".jp-NotebookPanel .jp-CodeCell .jp-InputPrompt"
IDLE = ".jp-NotebookPanel-toolbar .jp-Notebook-ExecutionIndicator[data-status='idle']"
FOLDED = ".jp-OutputArea details:not([open])"

CONNECTED_AND_IDLE = """
const done = arguments[0];
fetch('/api/kernels').then((answer) => answer.json()).then((kernels) => done(
    kernels.some((kernel) => kernel.connections > 0 && kernel.execution_state === 'idle')
));
"""

# Whether a figure has room on the page and something in it: shapes in a diagram, else pictures, none of a single shade
# and at least one with red or blue in it (a map of zeros is white, with its gaps).
IS_DRAWN = """
const [figure, selector] = arguments;
const hasRoom = ({width, height}) => Math.min(width, height) >= 20;
const pixels = (picture) => {
    const context = new OffscreenCanvas(64, 64).getContext('2d');
    context.drawImage(picture, 0, 0, 64, 64);
    const {data} = context.getImageData(0, 0, 64, 64);
    return Array.from({length: 64 * 64}, (_, index) => data.slice(4 * index, 4 * index + 3));
};
const hasShades = (picture) => new Set(pixels(picture).map(String)).size > 1;
const hasColour = (picture) => pixels(picture).some((pixel) => Math.max(...pixel) - Math.min(...pixel) > 50);
if (!hasRoom(figure.getBoundingClientRect())) return false;
if (!selector) return hasRoom(figure.getBBox());
const pictures = [...figure.querySelectorAll(selector)];
return pictures.every((picture) => hasRoom(picture.getBoundingClientRect()) && hasShades(picture))
    && pictures.some(hasColour);
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder away from the repository, so that no work in it is run or changed.

    The server of `make lab` shows nothing outside the exercises' folder: the solutions lie in it, as `solved`.
    """
    folder = tmp_path_factory.mktemp("course")
    exercises = folder / "exercises" / COURSE
    shutil.copytree(REPOSITORY / "exercises" / COURSE, exercises)
    shutil.copytree(REPOSITORY / "solutions" / COURSE, exercises / "solved")
    for path in exercises.glob("*.ipynb"):
        go_on_after_errors(path)
    return folder


def go_on_after_errors(path: Path) -> None:
    """Mark every cell so that Jupyter runs the cells after it though it fails."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", []).append("raises-exception")
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def lab_url(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address that `make lab` prints; the server stops when the tests are done."""
    log = course / "lab.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A kernel whose page is closed ends after a minute, so that not all of them keep their models in memory.
    ending = "--MappingKernelManager.cull_idle_timeout=60 --MappingKernelManager.cull_interval=10"
    with log.open("w") as output:
        server = subprocess.Popen(
            make_command("lab", f"LAB_ARGS=--no-browser --port {port} {ending}"),
            cwd=course,
            env=os.environ
            | {
                "JUPYTER_CONFIG_DIR": str(tmp_path_factory.mktemp("config")),
                "IOI_CACHE": str(tmp_path_factory.mktemp("references")),
            },
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield wait_for_address(server, log, port)
    finally:
        stop(server)


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


def open_in_lab(browser: webdriver.Chrome, lab_url: str, path: str) -> None:
    browser.get(lab_url.replace("00_introduction.ipynb?", f"{path}?reset&"))


def open_in_jupyter_notebook(browser: webdriver.Chrome, lab_url: str, path: str) -> None:
    """The same server serves both."""
    browser.get(lab_url.replace("lab/tree/00_introduction.ipynb", f"notebooks/{path}"))


def click(browser: webdriver.Chrome, label: str, text: str) -> None:
    """Click a menu, one of its entries or a button, by its text."""
    here = (By.XPATH, f"//*[contains(@class, '{label}')][text()='{text}']")
    wait(browser, condition.element_to_be_clickable(here), f"no {text} to click").click()


def run_all_cells(browser: webdriver.Chrome) -> None:
    """Run everything in the new kernel, from the menu, and wait until the last cell is done, or an error ends it."""
    wait(browser, kernel_is_idle, "no kernel")
    click(browser, "lm-MenuBar-itemLabel", "Run")
    click(browser, "lm-Menu-itemLabel", "Run All Cells")
    wait(browser, all_run_or_stopped, "the last cell has not been run", 240)
    wait(browser, kernel_is_idle, "the kernel is still busy")


def kernel_is_idle(browser: webdriver.Chrome) -> bool:
    """Whether the page says so, and the server too, for the page already does while it waits for the kernel."""
    return bool(find(browser, IDLE)) and browser.execute_async_script(CONNECTED_AND_IDLE)


def all_run_or_stopped(browser: webdriver.Chrome) -> bool:
    """Whether the last cell has its number, or there is an error and no cell with a star, which waits for its turn."""
    prompts = [prompt.get_attribute("textContent").strip("[]:") for prompt in find(browser, PROMPT)]
    return prompts[-1].isdigit() or ("*" not in prompts and bool(find(browser, ERROR)))


def find(where: webdriver.Chrome | WebElement, selector: str) -> list[WebElement]:
    return where.find_elements(By.CSS_SELECTOR, selector)


def errors(browser: webdriver.Chrome) -> list[str]:
    """The last line of everything red in the notebook: errors, and what was written to stderr."""
    return [error.get_attribute("textContent").strip().splitlines()[-1].strip() for error in find(browser, ERROR)]


def assert_figures_drawn(browser: webdriver.Chrome, expected: Figures, picture_name: str) -> None:
    """There are as many figures as expected, and each is drawn once one has unfolded it and scrolled to it."""
    for folded in find(browser, FOLDED):
        browser.execute_script("arguments[0].open = true", folded)
    plots, views, diagrams, maps = (find(browser, selector) for selector in KINDS_OF_FIGURES)
    assert Figures(len(plots), len(views), len(diagrams), len(maps)) == expected
    contents = [(plot, HEAT_MAP) for plot in plots] + [(view, ATTENTION) for view in views]
    for number, (figure, content) in enumerate(contents + [(diagram, None) for diagram in diagrams], start=1):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
        drawn = is_drawn(figure, content)
        wait(browser, drawn, f"figure {number}, {content or 'diagram'}, is empty", 20)
        keep_picture(browser, f"{picture_name}_{number}")


def is_drawn(figure: WebElement, content: str | None) -> Callable[[webdriver.Chrome], bool]:
    return lambda browser: browser.execute_script(IS_DRAWN, figure, content)


def assert_nothing_failed(browser: webdriver.Chrome, lab_url: str) -> None:
    """The browser asked no other host, got what it asked for, and has no error in its console."""
    events = network_events(browser)
    assert_asks_nobody_else(events, lab_url.split("/lab")[0])
    # Jupyter Notebook refuses its fonts for formulas and icons to a page that was opened by a token; others are used.
    assert [request for request in failed_requests(events) if not REFUSED_FONT.search(request)] == []
    assert [message for message in severe_messages(browser) if not REFUSED_FONT.search(message)] == []


# It has figures of every kind; test_preview.py looks at those of all notebooks.
@pytest.mark.slow
def test_solutions_in_jupyterlab(browser, lab_url):
    name = "04_attention_patterns"
    open_in_lab(browser, lab_url, f"solved/{name}.ipynb")
    run_all_cells(browser)
    assert errors(browser) == []
    assert_figures_drawn(browser, FIGURES[name], f"lab_solved_{name}")
    assert_nothing_failed(browser, lab_url)


@pytest.mark.parametrize(
    "name", ["01_ioi_metric", *(pytest.param(name, marks=pytest.mark.slow) for name in ("05_circuit", *OTHER_ERRORS))]
)
def test_exercises_in_jupyterlab(browser, lab_url, name):
    open_in_lab(browser, lab_url, f"{name}.ipynb")
    run_all_cells(browser)
    not_begun = [NOT_BEGUN.format(exercise.name) for exercise in EXERCISES if exercise.notebook == name]
    found = errors(browser)
    assert [error for error in found if error in not_begun] == not_begun
    assert [error for error in found if error not in not_begun] == OTHER_ERRORS.get(name, [])
    assert_figures_drawn(browser, FIGURES_OF_THE_EXERCISES[name], f"lab_{name}")
    assert_nothing_failed(browser, lab_url)


@pytest.mark.slow
def test_a_notebook_in_jupyter_notebook(browser, lab_url):
    open_in_jupyter_notebook(browser, lab_url, "solved/05_circuit.ipynb")
    wait(browser, kernel_is_idle, "no kernel")
    severe_messages(browser)  # leave out what is written while the page opens, before any cell runs
    run_all_cells(browser)
    assert errors(browser) == []
    assert_figures_drawn(browser, FIGURES["05_circuit"], "notebook_05_circuit")
    assert_nothing_failed(browser, lab_url)


# The lab: type, choose, click, and read numbers back.

# anywidget gives up on a widget that has not begun after two seconds, which a busy machine can take.
PATIENT = "const {timeout} = AbortSignal; AbortSignal.timeout = milliseconds => timeout.call(AbortSignal, 60000)"
BY_POSITION = ".widget-checkbox input:enabled"

# Where a cell of the map is, from its row and column, beside the middle of the plot.
PLACE_OF_CELL = """
const [plot, row, column] = arguments;
const {xaxis, yaxis} = plot._fullLayout;
const box = plot.getBoundingClientRect();
return [xaxis._offset + xaxis.d2p(column) - box.width / 2, yaxis._offset + yaxis.d2p(row) - box.height / 2];
"""


def field(browser: webdriver.Chrome, label: str) -> WebElement:
    """The field, the choice or the checkbox with this label."""
    here = f"//*[contains(@class, 'widget-label')][normalize-space()='{label}']/following-sibling::*"
    return browser.find_element(By.XPATH, here)


def write(browser: webdriver.Chrome, label: str, text: str) -> None:
    field(browser, label).send_keys(Keys.CONTROL, "a")
    field(browser, label).send_keys(text, Keys.TAB)


def says(browser: webdriver.Chrome, text: str) -> None:
    """Wait until the lab says this somewhere."""
    wait(browser, lambda _: text in find(browser, ".jp-OutputArea .widget-vbox")[0].text, f"no {text!r}", 30)


def click_cell(browser: webdriver.Chrome, row: int, column: int) -> None:
    plot = find(browser, ".js-plotly-plot")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    x, y = browser.execute_script(PLACE_OF_CELL, plot, row, column)
    ActionChains(browser).move_to_element_with_offset(plot, x, y).pause(0.2).click().perform()


@pytest.mark.parametrize("open_page", [open_in_lab, pytest.param(open_in_jupyter_notebook, marks=pytest.mark.slow)])
def test_the_lab_shows_the_numbers_that_are_computed_without_it(browser, lab_url, open_page) -> None:
    name, (model, _) = open_page.__name__, ioi_mini()
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": PATIENT})
    open_page(browser, lab_url, "solved/10_lab.ipynb")
    wait(browser, kernel_is_idle, "no kernel")
    severe_messages(browser)  # leave out what is written while the page opens, before any cell runs
    run_all_cells(browser)
    assert errors(browser) == []
    wait(browser, lambda _: find(browser, HEAT_MAP), "no map")

    Select(field(browser, "Patch")).select_by_visible_text("z")
    wait(browser, lambda _: find(browser, BY_POSITION), "no choice by position")[0].click()
    write(browser, "Cell", "9.9")
    fields = first_fields(model)
    effects = heads(model, fields)
    says(browser, f"z 9.9: {effects[9, 9]:.3f}")
    assert find(browser, ".js-plotly-plot .annotation") == []  # of the facets of the map by position
    keep_picture(browser, f"{name}_cell")
    click(browser, "jupyter-button", "Pin")
    click_cell(browser, 10, 7)
    says(browser, f"Pinned: z 9.9: {effects[9, 9]:.3f}")
    says(browser, f"z 10.7: {effects[10, 7]:.3f}")
    keep_picture(browser, f"{name}_pinned")

    write(browser, "Corrupted prompt", "When John met Mary")
    says(browser, "Every prompt must have as many tokens as the first")
    third_name = fields["corrupted"].replace("Mary gave", "Tom gave")
    write(browser, "Corrupted prompt", third_name)
    write(browser, "Cell", "9.9")
    says(browser, f"z 9.9: {heads(model, fields | {'corrupted': third_name})[9, 9]:.3f}")
    browser.execute_script("arguments[0].scrollIntoView()", field(browser, "Clean prompt"))
    keep_picture(browser, f"{name}_third_name")
    assert_nothing_failed(browser, lab_url)


def heads(model: TransformerBridge, fields: dict[str, str]) -> Float[Tensor, "layer head"]:
    return compute_map(model, run_pairs(model, read_pairs(model, fields)), Choice("z", by_position=False))
