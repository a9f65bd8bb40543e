"""The solutions run from top to bottom in every front end, and no right answer loses points to what a cell prints.

VS Code and Colab run a notebook in a kernel of Jupyter's and show its outputs themselves, by their mime types: what
their kernels give them is all that can be told without either. nbgrader gives a graded cell no points if it wrote
anything to stderr, and takes the value of its last expression for a partial grade.

A kernel that VS Code starts may lack ipywidgets, and whatever is shown by them, or complains of their absence, would be
seen there: so that is the run of `make test`, in which every notebook is run once.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbgrader.utils import is_grade

from selftests import REPOSITORY
from selftests.figures import FIGURES, Figures

SOLUTIONS = REPOSITORY / "solutions" / "activation_patching"

PLOTLY = "application/vnd.plotly.v1+json"
# Text stands beside every HTML output, for front ends that show no HTML.
VS_CODE_SHOWS = {PLOTLY, "text/html", "image/svg+xml", "text/plain"}


class FrontEnd(NamedTuple):
    """What tells a kernel who started it."""

    environment: Mapping[str, str] = MappingProxyType({})
    ipywidgets: bool = True


VS_CODE = FrontEnd({"VSCODE_PID": "1"}, ipywidgets=False)
# Plotly gives Colab, which it knows by this variable, a page that fetches plotly.js.
COLAB = FrontEnd({"COLAB_NOTEBOOK_ID": "1"})
JUPYTER_WITHOUT_IPYWIDGETS = FrontEnd(ipywidgets=False)

# The preview runs all of them, and the demo grades them. In VS Code, one with figures of every kind will do.
RUNS = [
    pytest.param(("00_introduction", VS_CODE), id="00_introduction-vs_code"),
    pytest.param(("04_attention_patterns", VS_CODE), id="04_attention_patterns-vs_code", marks=pytest.mark.slow),
    # The runs for VS Code lack ipywidgets too, so the shortest notebook will do.
    pytest.param(("01_ioi_metric", JUPYTER_WITHOUT_IPYWIDGETS), id="01_ioi_metric-no_widgets", marks=pytest.mark.slow),
]


class Executed(NamedTuple):
    name: str
    front_end: FrontEnd
    notebook: NotebookNode

    @property
    def outputs(self) -> list[tuple[NotebookNode, NotebookNode]]:
        """Each output, after its cell."""
        cells = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        return [(cell, output) for cell in cells for output in cell.outputs]

    @property
    def shown(self) -> list[dict[str, object]]:
        """Each thing that is shown, by mime type."""
        return [output.data for _, output in self.outputs if "data" in output]


@pytest.fixture(scope="module", autouse=True)
def references_kept_in_one_place(tmp_path_factory: pytest.TempPathFactory):
    """Begin with no kept references, so that the computing of them is run too, but once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOI_CACHE", str(tmp_path_factory.mktemp("references")))
        yield


def execute(name: str, front_end: FrontEnd, folder: Path) -> Executed:
    """Run a notebook of the solutions in a fresh kernel that begins in `folder`."""
    first = folder / "ipython" / "profile_default" / "startup" / "00.py"
    first.parent.mkdir(parents=True)
    first.write_text("" if front_end.ipywidgets else "import sys\nsys.modules['ipywidgets'] = None\n", encoding="utf-8")
    notebook = nbformat.read(SOLUTIONS / f"{name}.ipynb", as_version=4)
    # A last cell of our own, which fails if the run was not the one this test is about.
    has_ipywidgets = f"import tqdm.notebook; assert (tqdm.notebook.IProgress is not None) is {front_end.ipywidgets}"
    notebook.cells.append(nbformat.v4.new_code_cell(has_ipywidgets))
    client = NotebookClient(notebook, timeout=600, allow_errors=True)
    environment = os.environ | dict(front_end.environment) | {"IPYTHONDIR": str(folder / "ipython")}
    client.execute(env=environment, cwd=str(folder))
    return Executed(name, front_end, notebook)


@pytest.fixture(scope="module", params=RUNS)
def executed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Executed:
    return execute(*request.param, tmp_path_factory.mktemp("elsewhere"))


def failed(executed: Executed) -> list[tuple[str, str, str]]:
    errors = [(cell, output) for cell, output in executed.outputs if output.output_type == "error"]
    return [(cell.id, output.ename, output.evalue) for cell, output in errors]


def test_no_cell_fails(executed: Executed):
    assert failed(executed) == []


def test_graded_cells_print_to_stdout_and_do_nothing_else(executed: Executed):
    graded = [(cell, output) for cell, output in executed.outputs if is_grade(cell)]
    assert graded or executed.name == "00_introduction"
    assert [
        (cell.id, output) for cell, output in graded if (output.output_type, output.get("name")) != ("stream", "stdout")
    ] == []


def test_no_cell_writes_to_stderr(executed: Executed):
    """No points are at stake here, but a red box over a right result frightens a learner.

    Where ipywidgets is missing, tqdm advises Jupyter's readers to install it, once, in the cell that imports all.
    """
    written = [(cell.id, output.text) for cell, output in executed.outputs if output.get("name") == "stderr"]
    if executed.front_end is not VS_CODE:
        written = [(cell, text) for cell, text in written if cell != "setup" or "TqdmWarning: IProgress" not in text]
    assert written == []


def test_the_figures_are_shown_as_the_front_end_can_show_them(executed: Executed):
    shown = executed.shown
    pages = [bundle.get("text/html", "") for bundle in shown]
    views = [page for page in pages if 'class="attention-view"' in page]
    diagrams = [page for page in pages if "<svg" in page and page not in views]
    maps = [page for page in pages if page.startswith("<details") and "<table" in page]
    found = Figures(sum(PLOTLY in bundle for bundle in shown), len(views), len(diagrams), len(maps))
    assert found == FIGURES[executed.name]
    if executed.front_end is VS_CODE:
        assert {mime_type for bundle in shown for mime_type in bundle} <= VS_CODE_SHOWS


@pytest.mark.slow
def test_colab_gets_heat_maps_as_pages(tmp_path: Path):
    executed = execute("01_ioi_metric", COLAB, tmp_path)
    assert failed(executed) == []
    assert [output.text for _, output in executed.outputs if output.get("name") == "stderr"] == []
    pages = [bundle["text/html"] for bundle in executed.shown]
    assert len(pages) == FIGURES["01_ioi_metric"].heat_maps > 0
    assert all("Plotly.newPlot" in page and "https://cdn.plot.ly/plotly" in page for page in pages)
