"""The site of `make preview`, page by page, in a browser without a network."""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
import pytest
from nbformat import NotebookNode
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from selftests import REPOSITORY
from selftests.browsing import (
    ATTENTION,
    COURSE,
    ERROR,
    HEAT_MAP,
    KINDS_OF_FIGURES,
    assert_asks_nobody_else,
    keep_picture,
    keep_whole_page,
    make,
    network_events,
    severe_messages,
    wait,
)
from selftests.figures import FIGURES, Figures

pytestmark = pytest.mark.usefixtures("needed_programs")

VERSIONS = ("solutions", "exercises")
NOTEBOOKS = sorted(file.stem for file in (REPOSITORY / "solutions" / COURSE).glob("*.ipynb"))
PAGES = ["index", *(f"{version}/{name}" for version in VERSIONS for name in NOTEBOOKS)]

# What a reader sees below a cell that has a line beginning with such a call.
SEEN = {
    r"utils\.imshow\(": HEAT_MAP,
    r"utils\.bar_chart\(": ".barlayer",
    r"utils\.attention_view\(": ATTENTION,
    r"utils\.\w+_diagram\(": "svg",
    r"utils\.published_beside\(": "details table",
    r"utils\.lab\(": HEAT_MAP,
}
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)

NARROW = {"width": 800, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
TOO_WIDE = """
document.querySelectorAll("details").forEach(folded => { folded.open = true });
return [...document.querySelectorAll(".jp-OutputArea-output:has(.main-svg, canvas, svg, table)")]
    .filter(figure => figure.scrollWidth > figure.clientWidth)
    .map(figure => figure.closest(".jp-Cell").id);
"""

# The figures of a page that have not been drawn, or too small to be seen.
NOT_DRAWN = """
const wide = element => element.getBoundingClientRect().width >= 100;
const figures = {"figure": ".hm image, .barlayer", "attention-view": "canvas", "diagram": "svg"};
return Object.entries(figures).flatMap(([kind, picture]) =>
    [...document.getElementsByClassName(kind)]
        .filter(figure => ![...figure.querySelectorAll(picture)].some(wide))
        .map(figure => `${kind} in ${figure.closest(".jp-Cell").id}`));
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make preview` writes, away from the repository, so that no preview is replaced."""
    folder = tmp_path_factory.mktemp("course")
    for version in VERSIONS:
        (folder / version / COURSE).mkdir(parents=True)
        for name in NOTEBOOKS:
            shutil.copy(REPOSITORY / version / COURSE / f"{name}.ipynb", folder / version / COURSE)
    done = make(folder, "preview", seconds=600)
    assert done.returncode == 0, done.stderr
    return folder / "preview_site"


def source(version: str, name: str) -> NotebookNode:
    return nbformat.read(REPOSITORY / version / COURSE / f"{name}.ipynb", as_version=4)


def address(site: Path, page: str) -> str:
    return (site / f"{page}.html").as_uri()


def wait_for_page(browser: webdriver.Chrome, url: str) -> None:
    """A click returns before the next page is there and, on a busy machine, `get` may too."""
    wait(browser, lambda _: browser.current_url == url, f"{url} is not there")
    wait(browser, lambda _: browser.execute_script("return document.readyState") == "complete", f"{url} is not whole")


def wait_for_figures(browser: webdriver.Chrome, url: str) -> None:
    wait_for_page(browser, url)
    wait(browser, lambda _: not browser.execute_script(NOT_DRAWN), "some figures are not drawn")


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    return [element.get_attribute("textContent") for element in browser.find_elements(By.CSS_SELECTOR, selector)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_is_whole_and_asks_nobody_and_its_figures_fit_a_narrow_window(browser, site, page):
    browser.get(address(site, page))
    wait_for_figures(browser, address(site, page))
    keep_whole_page(browser, f"preview_{page.replace('/', '_')}")

    assert texts(browser, ERROR) == []
    assert [text for text in texts(browser, "p") if "$" in text] == []  # formulas are drawn
    events = network_events(browser)
    assert_asks_nobody_else(events, "file://")
    assert [params["errorText"] for method, params in events if method == "Network.loadingFailed"] == []
    assert severe_messages(browser) == []
    links = browser.execute_script("return [...document.querySelectorAll('a[href]')].map(link => link.href)")
    files = [Path(unquote(urlparse(link).path)) for link in links if link.startswith("file:")]
    assert files
    assert [file for file in files if not file.is_file()] == []
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", NARROW)
    # An attention view is drawn anew for the narrow window.
    wait(browser, lambda _: not browser.execute_script(TOO_WIDE), "some figures are too wide")


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_of_the_solutions_shows_what_it_draws(browser, site, name):
    browser.get(address(site, f"solutions/{name}"))
    wait_for_figures(browser, address(site, f"solutions/{name}"))
    cells = [cell for cell in source("solutions", name).cells if cell.cell_type == "code"]
    expected = [
        (cell.id, picture)
        for cell in cells
        for call, picture in SEEN.items()
        if re.search(f"^{call}", cell.source, re.MULTILINE)
    ]
    assert expected
    seen = "return document.getElementById(`cell-id=${arguments[0]}`).querySelector(arguments[1]) != null"
    assert [(cell, picture) for cell, picture in expected if not browser.execute_script(seen, cell, picture)] == []
    assert Figures(*(len(browser.find_elements(By.CSS_SELECTOR, kind)) for kind in KINDS_OF_FIGURES)) == FIGURES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_exercises_show_no_solution(browser, site, name):
    browser.get(address(site, f"exercises/{name}"))
    wait_for_page(browser, address(site, f"exercises/{name}"))
    assert "Nothing on it has been run" in texts(browser, ".note")[0]
    assert texts(browser, ".jp-OutputArea-output") == []
    shown = {line.strip() for code in texts(browser, ".jp-CodeCell") for line in code.splitlines()}
    given = {line.strip() for cell in source("exercises", name).cells for line in cell.source.splitlines()}
    solved = SOLUTION.findall("\n".join(cell.source for cell in source("solutions", name).cells))
    lines = {line.strip() for solution in solved for line in solution.splitlines()}
    assert shown & (lines - given) == set()
    assert not any("SOLUTION" in line for line in shown)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_links_lead_through_the_notebooks_and_back(browser, site, version):
    browser.get(address(site, "index"))
    browser.find_element(By.LINK_TEXT, version).click()
    for direction, names in (("next", NOTEBOOKS), ("prev", NOTEBOOKS[::-1])):
        for name, following in zip(names, [*names[1:], None], strict=True):
            wait_for_page(browser, address(site, f"{version}/{name}"))
            # One link above the notebook and one below it, which say the title of the page they lead to.
            links = browser.find_elements(By.CSS_SELECTOR, f"a[rel={direction}]")
            assert len(links) == (2 if following else 0)
            if following:
                title = links[0].text.strip("← →")
                links[0].click()
                wait_for_page(browser, address(site, f"{version}/{following}"))
                assert texts(browser, "h1")[0].startswith(title)
    browser.find_element(By.CSS_SELECTOR, "a[rel=index]").click()
    wait_for_page(browser, address(site, "index"))


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_links_lead_to_the_other_version(browser, site, version):
    other = VERSIONS[1 - VERSIONS.index(version)]
    browser.get(address(site, f"{version}/{NOTEBOOKS[1]}"))
    browser.find_element(By.CSS_SELECTOR, "a[rel=alternate]").click()
    wait_for_page(browser, address(site, f"{other}/{NOTEBOOKS[1]}"))


@pytest.mark.slow
def test_index_says_what_each_notebook_asks(browser, site):
    browser.get(address(site, "index"))
    rows = browser.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert len(rows) == len(NOTEBOOKS)
    for row, name in zip(rows, NOTEBOOKS, strict=True):
        title, functions, reading, exercises, _ = (cell.text for cell in row.find_elements(By.TAG_NAME, "td"))
        first, *cells = source("solutions", name).cells
        assert first.source.startswith(f"# {title}")
        cells = [cell for cell in cells if cell.cell_type == "code"]
        code = "\n".join(cell.source for cell in cells)
        assert [function for function in functions.split() if not re.search(f"^(def )?{function}\\b", code, re.M)] == []
        assert re.fullmatch(r"\d+ minutes", reading)
        points = sum(cell.metadata.get("nbgrader", {}).get("points", 0) for cell in cells)
        assert sum(map(int, re.findall(r"(\d+)(?: bonus)? point", exercises))) == points


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "cell", "hovered"),
    [
        ("solutions/02_residual_stream", "own-map", r"position: \S+ \d+layer: \d+value: .*"),
        ("solutions/03_attention_heads", "own-map", r"head \d+\.\d+value: .*"),
    ],
)
def test_hovering_over_a_square_tells_what_it_is(browser, site, page, cell, hovered):
    browser.get(address(site, page))
    wait_for_figures(browser, address(site, page))
    figure = browser.find_element(By.CSS_SELECTOR, f"[id='cell-id={cell}'] .js-plotly-plot")
    square = figure.find_element(By.CSS_SELECTOR, ".nsewdrag")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
    ActionChains(browser).move_to_element(square).perform()
    labels = wait(browser, lambda _: texts(browser, ".hoverlayer .hovertext"), "no hover label", 10)
    keep_picture(browser, f"preview_{page.replace('/', '_')}_hover")
    assert re.fullmatch(hovered, labels[0])
