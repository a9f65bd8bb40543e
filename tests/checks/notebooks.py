"""Reads the functions that a learner wrote in notebooks, without running the sweeps and plots."""

import ast
import linecache
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from tests.checks.figures import nothing_shown

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
MAGICS_ON_PYTHON = ("time", "capture", "prun")
"""Magics that run the code in their line or cell among the notebook's other code."""


class NotebookError(Exception):
    """A notebook is invalid, or its set-up cell fails; the message says which and why."""


class CellWarning(UserWarning):
    """A cell that no exercise needs fails."""


class Definitions(NamedTuple):
    """What a notebook defines."""

    names: dict[str, Any]
    errors: dict[str, str]
    """Which exercise's cell failed and why, by the exercise's name."""


class Cell(NamedTuple):
    """A code cell."""

    file: str
    """What to call it in messages and tracebacks."""
    source: str
    is_setup: bool
    is_check: bool
    exercise: str
    """The name of the exercise that is solved in this cell; empty for any other cell."""


def find_notebooks(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and its subfolders, sorted, without Jupyter's checkpoints.

    Raises `NotebookError` if there are none, or if two have the same name, as in a folder of many students.
    """
    found = sorted(path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not found:
        raise NotebookError(f"There is no notebook in {folder}: pass a folder such as exercises or solutions.")
    duplicate = next((name for name, count in Counter(path.name for path in found).items() if count > 1), None)
    if duplicate:
        raise NotebookError(f"{folder} has more than one {duplicate}: pass a folder with one copy of the workbook.")
    return found


def read_functions(notebook: Path) -> Definitions:
    """Run the cells that a notebook's functions need and return what these define.

    These are the cells tagged `setup`, the exercise cells, and imports and definitions anywhere else (a learner's own
    helpers), without sweeps, plots, checks and IPython's magics; no figure is displayed. If one of them uses a name of
    another cell, all cells but the checks run. Any other cell that fails is a `CellWarning`. Raises `NotebookError` if
    the file is invalid or the set-up fails.
    """
    cells = _read_cells(notebook)
    names, failed = _run(cells, lambda cell: cell.is_setup or bool(cell.exercise))
    if any(isinstance(error, NameError) for _, error in failed):
        names, failed = _run(cells, lambda cell: not cell.is_check)
    errors = {}
    for cell, error in failed:
        message = f"{cell.file} fails: {type(error).__name__}: {error}"
        if cell.is_setup:
            raise NotebookError(message) from error
        if cell.exercise:
            errors[cell.exercise] = message
        else:
            warnings.warn(message, CellWarning, stacklevel=2)
    return Definitions(names, errors)


def _read_cells(notebook: Path) -> list[Cell]:
    """Return the code cells. Raises `NotebookError` if the file is not a notebook."""
    try:
        # Some editors on Windows begin a file with a byte order mark.
        read = nbformat.reads(notebook.read_text(encoding="utf-8-sig"), as_version=4)
        code = [cell for cell in read.cells if cell.cell_type == "code"]
        return [_describe(cell, f"{notebook}, code cell {number}") for number, cell in enumerate(code, start=1)]
    except Exception as error:
        raise NotebookError(f"{notebook} is not a valid notebook: {error}") from None


def _describe(cell: nbformat.NotebookNode, file: str) -> Cell:
    marks = cell.metadata.get("nbgrader", {})
    return Cell(
        file,
        cell.source,
        is_setup="setup" in cell.metadata.get("tags", []),
        is_check=marks.get("grade", False),
        exercise=marks.get("grade_id", "") if marks.get("solution", False) else "",
    )


def _run(
    cells: list[Cell], runs_whole: Callable[[Cell], bool]
) -> tuple[dict[str, Any], list[tuple[Cell, Exception | SystemExit]]]:
    """Run some cells whole and of the others what they import and define; return all names and the cells that fail."""
    names: dict[str, Any] = {"__name__": "__main__", "get_ipython": _NoShell, "display": lambda *_, **__: None}
    failed = []
    for cell in cells:
        linecache.cache[cell.file] = (len(cell.source), None, cell.source.splitlines(keepends=True), cell.file)
        try:
            tree = ast.Module(_parse(cell.source, cell.file), type_ignores=[])
            if not runs_whole(cell):
                tree.body = [statement for statement in tree.body if isinstance(statement, DEFINITIONS)]
            with nothing_shown():
                exec(compile(tree, cell.file, "exec"), names)
        except (Exception, SystemExit) as error:
            failed.append((cell, error))
            if cell.is_setup:
                break
    return names, failed


class _NoShell:
    """What `get_ipython()` returns here: an object whose methods, such as those that run magics, do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _parse(source: str, file: str) -> list[ast.stmt]:
    """Parse a cell as IPython does, with the code under a magic such as `%%time` in the magic's place."""
    statements = []
    for statement in ast.parse(TransformerManager().transform_cell(source), file).body:
        match statement:
            case ast.Expr(
                ast.Call(
                    ast.Attribute(ast.Call(ast.Name("get_ipython")), "run_line_magic" | "run_cell_magic"),
                    [ast.Constant(str(magic)), *_, ast.Constant(str(code))],
                )
            ) if magic in MAGICS_ON_PYTHON:
                statements += _parse(code, file)
            case _:
                statements.append(statement)
    return statements
