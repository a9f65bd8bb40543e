"""A learner's notebook is read as IPython reads it, and a cell that fails costs no more than it defines."""

import warnings
from pathlib import Path

import nbformat
import pytest

from tests.checks.notebooks import CellWarning, Definitions, NotebookError, read_functions

SETUP = "base = 1"
EXERCISE = "def answer():\n    return base"
AFTER = "def helper():\n    return 2"


def cell(source: str, exercise: str = "", **metadata) -> nbformat.NotebookNode:
    """Create a code cell, the one in which an exercise is solved if that is named."""
    marks = {"nbgrader": {"grade_id": exercise, "solution": True, "grade": False}} if exercise else {}
    return nbformat.v4.new_code_cell(source, metadata=marks | metadata)


def read(folder: Path, *cells: nbformat.NotebookNode, encoding: str = "utf-8") -> Definitions:
    """Read a notebook of the set-up, these cells and a definition that no exercise needs."""
    notebook = nbformat.v4.new_notebook(cells=[cell(SETUP, tags=["setup"]), *cells, cell(AFTER)])
    (folder / "one.ipynb").write_text(nbformat.writes(notebook), encoding=encoding)
    return read_functions(folder / "one.ipynb")


@pytest.mark.parametrize(
    "scratch",
    [
        "import sys\nif 'google.colab' in sys.modules:\n    %pip install circuitsvis\n",
        "    %pip install circuitsvis",
        "files = !ls\nprint(files[0])",
        "!touch made.txt",
        "base?",
        "base.real??",
        "%%html\n<b>not Python</b>",
        "%%bash\ntouch made.txt",
        "%%writefile made.txt\ntext",
        "%load_ext autoreload\n%autoreload 2",
        "In [1]: x = 1",
        ">>> x = 1",
        "await something()",
    ],
)
def test_what_ipython_accepts_in_a_scratch_cell_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: str
):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names, errors = read(tmp_path, cell(scratch), cell(EXERCISE, "answer"))
    assert (names["answer"](), names["helper"](), errors) == (1, 2, {})
    assert [path.name for path in tmp_path.iterdir()] == ["one.ipynb"]


@pytest.mark.parametrize(
    ("scratch", "why"),
    [
        ("def f(:\n    pass", "SyntaxError"),
        ("print(1", "SyntaxError"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("from math import no_such_function", "ImportError"),
        ("def f(x: no_such_name):\n    pass", "NameError"),
        ("class C(7):\n    pass", "TypeError"),
        ("    x = 1\n  y = 2", "IndentationError"),
    ],
)
def test_a_scratch_cell_that_fails_is_a_warning(tmp_path: Path, scratch: str, why: str):
    with pytest.warns(CellWarning, match=rf"one\.ipynb, code cell 2 fails: {why}"):
        names, errors = read(tmp_path, cell(scratch), cell(EXERCISE, "answer"))
    assert (names["answer"](), names["helper"](), errors) == (1, 2, {})


@pytest.mark.parametrize(
    "source",
    [
        f"%%time\n{EXERCISE}",
        f"\n%%time\n\n{EXERCISE}",
        f"%%capture output\n%%time\n{EXERCISE}",
        f"%matplotlib inline\n{EXERCISE}\n!ls",
        f"{EXERCISE}\ndisplay(answer())\nanswer?",
        f"{EXERCISE}\n%timeit answer()",
        f"import sys\n{EXERCISE}\nif 'google.colab' in sys.modules:\n    %pip install circuitsvis",
        "%time answer = lambda: base",
    ],
)
def test_an_exercise_cell_may_use_magics(tmp_path: Path, source: str):
    names, errors = read(tmp_path, cell(source, "answer"))
    assert (names["answer"](), errors) == (1, {})


def test_a_definition_under_a_magic_is_read_in_any_cell(tmp_path: Path):
    names, _ = read(tmp_path, cell(f"%%time\n{EXERCISE}\n1 / 0"))
    assert names["answer"]() == 1


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def answer(:\n    pass", "SyntaxError: "),
        ("import no_such_package\n" + EXERCISE, "ModuleNotFoundError: "),
        ("import sys\nsys.exit()\n" + EXERCISE, "SystemExit: "),
        ("def answer(x: no_such_name):\n    return base", "NameError: "),
    ],
)
def test_an_exercise_cell_that_fails_is_an_error_of_that_exercise_alone(tmp_path: Path, source: str, why: str):
    names, errors = read(tmp_path, cell(source, "answer"), cell("def other():\n    return base", "other"))
    assert names["other"]() == 1 and "answer" not in names
    assert list(errors) == ["answer"]
    assert errors["answer"].startswith(f"{tmp_path / 'one.ipynb'}, code cell 2 fails: {why}")


def test_a_function_counts_although_its_cell_fails_after_it(tmp_path: Path):
    names, errors = read(tmp_path, cell(EXERCISE + "\nanswer(7)", "answer"))
    assert names["answer"]() == 1 and "TypeError" in errors["answer"]


def test_all_cells_but_checks_run_if_an_exercise_uses_a_name_of_another_cell(tmp_path: Path):
    scratch = cell("mine = 1\nran = True\nundefined_name")
    check = nbformat.v4.new_code_cell("1 / 0", metadata={"nbgrader": {"grade": True, "grade_id": "check"}})
    with pytest.warns(CellWarning, match="code cell 2 fails: NameError"):
        names, errors = read(tmp_path, scratch, check, cell("def answer(x=mine):\n    return x", "answer"))
    assert (names["answer"](), names["ran"], errors) == (1, True, {})


def test_a_set_up_that_fails_is_an_error_of_the_notebook(tmp_path: Path):
    with pytest.raises(NotebookError, match="code cell 2 fails: ZeroDivisionError"):
        read(tmp_path, cell("1 / 0", tags=["setup"]), cell(EXERCISE, "answer"))


def test_a_byte_order_mark_is_ignored(tmp_path: Path):
    assert read(tmp_path, cell(EXERCISE, "answer"), encoding="utf-8-sig").names["answer"]() == 1


@pytest.mark.parametrize("text", ["", "not JSON", "{}", "[1, 2]", '{"cells": [{"cell_type": "code"}], "nbformat": 4}'])
def test_a_file_that_is_not_a_notebook_is_named(tmp_path: Path, text: str):
    (tmp_path / "one.ipynb").write_text(text)
    with pytest.raises(NotebookError, match=r"one\.ipynb is not a valid notebook"):
        read_functions(tmp_path / "one.ipynb")
