"""The solutions run from top to bottom, and no right answer loses points to what a cell prints.

nbgrader gives a graded cell no points if it wrote anything to stderr, and takes the value of its last expression for a
partial grade. Progress bars and warnings go to stderr where ipywidgets is missing, so that case is run too.
"""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbgrader.utils import is_grade

SOLUTIONS = Path(__file__).parents[1] / "solutions" / "activation_patching"
WITHOUT_IPYWIDGETS = "import sys\nsys.modules['ipywidgets'] = None\n"

ALL = ("01_ioi_metric", "02_residual_stream", "03_attention_heads", "04_attention_patterns", "05_circuit")
# Without ipywidgets the shortest and one with a sweep will do: all checks run through the same few functions.
RUNS = [(name, True) for name in ALL] + [(name, False) for name in ("01_ioi_metric", "03_attention_heads")]


@pytest.fixture(scope="module", autouse=True)
def references_kept_in_one_place(tmp_path_factory: pytest.TempPathFactory):
    """Begin with no kept references, so that the computing of them is run too, but once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOI_CACHE", str(tmp_path_factory.mktemp("references")))
        yield


@pytest.fixture(scope="module", params=RUNS, ids=[f"{name}-ipywidgets-{present}" for name, present in RUNS])
def executed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """A notebook of the solutions after a run in a fresh kernel."""
    name, with_ipywidgets = request.param
    ipython = tmp_path_factory.mktemp("ipython")
    startup = ipython / "profile_default" / "startup"
    startup.mkdir(parents=True)
    if not with_ipywidgets:
        (startup / "00.py").write_text(WITHOUT_IPYWIDGETS, encoding="utf-8")
    notebook = nbformat.read(SOLUTIONS / f"{name}.ipynb", as_version=4)
    # A last cell of our own, which fails if the run was not the one this test is about.
    has_ipywidgets = f"import tqdm.notebook; assert (tqdm.notebook.IProgress is not None) is {with_ipywidgets}"
    notebook.cells.append(nbformat.v4.new_code_cell(has_ipywidgets))
    client = NotebookClient(notebook, timeout=600, allow_errors=True)
    client.execute(env=os.environ | {"IPYTHONDIR": str(ipython)}, cwd=str(tmp_path_factory.mktemp("elsewhere")))
    return notebook


def test_no_cell_fails(executed: nbformat.NotebookNode):
    assert [
        (cell.id, output.ename, output.evalue) for cell, output in outputs(executed) if output.output_type == "error"
    ] == []


def test_graded_cells_print_to_stdout_and_do_nothing_else(executed: nbformat.NotebookNode):
    graded = [(cell, output) for cell, output in outputs(executed) if is_grade(cell)]
    assert graded
    assert [
        (cell.id, output) for cell, output in graded if (output.output_type, output.get("name")) != ("stream", "stdout")
    ] == []


def test_no_cell_writes_to_stderr(executed: nbformat.NotebookNode):
    """No points are at stake here, but a red box over a right result frightens a learner.

    Where ipywidgets is missing, tqdm advises to install it, once, in the cell that imports everything.
    """
    written = [(cell.id, output.text) for cell, output in outputs(executed) if output.get("name") == "stderr"]
    assert [(cell, text) for cell, text in written if cell != "setup" or "TqdmWarning: IProgress" not in text] == []


def outputs(notebook: nbformat.NotebookNode) -> list[tuple[nbformat.NotebookNode, nbformat.NotebookNode]]:
    return [(cell, output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
