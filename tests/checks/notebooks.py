"""Reads the functions that a learner wrote in notebooks, without running the sweeps and plots."""

import ast
import linecache
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nbformat

from tests.checks.figures import nothing_shown

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


class NotebookError(Exception):
    """A notebook is invalid, or one of its cells fails; the message says which and why."""


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


def read_functions(notebook: Path) -> dict[str, object]:
    """Run the cells that a notebook's functions need and return all names these define.

    These are the cells tagged `setup`, the exercise cells, and imports and definitions anywhere else (a learner's own
    helpers), without sweeps, plots and checks; no figure is displayed. If one of them uses a name of another cell, all
    cells but the checks run. Raises `NotebookError` if the file is invalid or a cell fails.
    """
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except Exception as error:
        raise NotebookError(f"{notebook} is not a valid notebook: {error}") from None
    code = [cell for cell in cells if cell.cell_type == "code"]
    try:
        return _run(notebook, code, _is_needed)
    except NotebookError as error:
        if not isinstance(error.__cause__, NameError):
            raise
    return _run(notebook, code, lambda cell: not cell.metadata.get("nbgrader", {}).get("grade", False))


def _run(
    notebook: Path, code: list[nbformat.NotebookNode], runs_whole: Callable[[nbformat.NotebookNode], bool]
) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": notebook.stem}
    for number, cell in enumerate(code):
        file = f"{notebook}, code cell {number + 1}"
        linecache.cache[file] = (len(cell.source), None, cell.source.splitlines(keepends=True), file)
        try:
            tree = ast.parse(_without_magics(cell.source), file)
            if not runs_whole(cell):
                tree.body = [statement for statement in tree.body if isinstance(statement, DEFINITIONS)]
            with nothing_shown():
                exec(compile(tree, file, "exec"), namespace)
        except Exception as error:
            raise NotebookError(f"{file} fails: {type(error).__name__}: {error}") from error
    return namespace


def _is_needed(cell: nbformat.NotebookNode) -> bool:
    return "setup" in cell.metadata.get("tags", []) or cell.metadata.get("nbgrader", {}).get("solution", False)


def _without_magics(source: str) -> str:
    """Comment out IPython's % and ! lines, which are not Python."""
    lines = source.splitlines()
    return "\n".join(f"pass  # {line}" if line.startswith(("%", "!")) else line for line in lines)
