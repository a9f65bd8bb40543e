"""The notebooks in VS Code and on Colab, as far as that can be told without either: what their kernels give them.

Both run a notebook in a kernel of Jupyter's and show its outputs themselves, by their mime types. A kernel that VS Code
starts may lack ipywidgets, and whatever is shown by them, or complains of their absence, would be seen here.
"""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from selftests.test_browser import FIGURES, Figures

SOLUTIONS = Path(__file__).parents[1] / "solutions" / "activation_patching"
WITHOUT_IPYWIDGETS = "import sys\nsys.modules['ipywidgets'] = None\n"

PLOTLY = "application/vnd.plotly.v1+json"
# Text stands beside every HTML output, for front ends that show no HTML.
VS_CODE_SHOWS = {PLOTLY, "text/html", "image/svg+xml", "text/plain"}


@pytest.fixture(scope="module", autouse=True)
def references_kept_in_one_place(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOI_CACHE", str(tmp_path_factory.mktemp("references")))
        yield


def execute(name: str, folder: Path, environment: dict[str, str], startup: str = "") -> list[NotebookNode]:
    """Run a notebook of the solutions, in a kernel that begins in `folder` and with `startup`; return its outputs."""
    first = folder / "ipython" / "profile_default" / "startup" / "00.py"
    first.parent.mkdir(parents=True)
    first.write_text(startup, encoding="utf-8")
    notebook = nbformat.read(SOLUTIONS / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=600, allow_errors=True)
    client.execute(env=os.environ | environment | {"IPYTHONDIR": str(folder / "ipython")}, cwd=str(folder))
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def complaints(outputs: list[NotebookNode]) -> list[str]:
    """Errors, and what was written to stderr."""
    errors = [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]
    return errors + [output.text for output in outputs if output.get("name") == "stderr"]


def bundles(outputs: list[NotebookNode]) -> list[dict[str, object]]:
    """Each thing that is shown, by mime type."""
    return [output.data for output in outputs if "data" in output]


def figures(shown: list[dict[str, object]]) -> Figures:
    """How many of the things shown are figures, by kind."""
    pages = [bundle.get("text/html", "") for bundle in shown]
    views = [page for page in pages if 'class="attention-view"' in page]
    diagrams = [page for page in pages if "<svg" in page and page not in views]
    return Figures(sum(PLOTLY in bundle for bundle in shown), len(views), len(diagrams))


@pytest.mark.parametrize("name", FIGURES)
def test_vs_code_can_show_everything(tmp_path, name):
    outputs = execute(name, tmp_path, {"VSCODE_PID": "1"}, startup=WITHOUT_IPYWIDGETS)
    assert complaints(outputs) == []
    shown = bundles(outputs)
    assert {mime_type for bundle in shown for mime_type in bundle} <= VS_CODE_SHOWS
    assert figures(shown) == FIGURES[name]


def test_colab_gets_heat_maps_as_pages(tmp_path):
    """Plotly knows Colab by an environment variable, and gives it a page that fetches plotly.js."""
    outputs = execute("00_introduction", tmp_path, {"COLAB_NOTEBOOK_ID": "1"})
    assert complaints(outputs) == []
    pages = [bundle["text/html"] for bundle in bundles(outputs)]
    assert len(pages) == sum(FIGURES["00_introduction"])
    assert sum("Plotly.newPlot" in page and "https://cdn.plot.ly/plotly" in page for page in pages) == 1
