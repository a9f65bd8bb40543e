"""Read the functions a learner wrote out of a folder of notebooks, without running the sweeps and plots in them."""

import ast
import linecache
from pathlib import Path

import nbformat

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


class NotebookError(Exception):
    """A notebook cannot be read, or its setup fails; the text says which and why."""


def find_notebooks(folder: Path) -> list[Path]:
    """The notebooks in a folder and below it, in order, without Jupyter's checkpoints.

    Raises `NotebookError` where there are none, and where one name stands twice, as in a folder of many students.
    """
    found = sorted(path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not found:
        raise NotebookError(f"There is no notebook in {folder}: give a folder such as exercises or solutions.")
    names = [path.name for path in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise NotebookError(f"{folder} holds {twice[0]} more than once: give the folder of one copy of the workbook.")
    return found


def read_functions(notebook: Path) -> dict[str, object]:
    """Run what a notebook's functions need and return all names it then defines.

    Run are the cells tagged `setup`, the cells a learner fills in, and imports and definitions anywhere else (a
    learner's own helpers). Sweeps, plots and checks are left out.
    """
    namespace: dict[str, object] = {"__name__": notebook.stem}
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except Exception as error:
        raise NotebookError(f"{notebook} cannot be read as a notebook: {error}") from None
    for number, cell in enumerate(cell for cell in cells if cell.cell_type == "code"):
        file = f"{notebook}, code cell {number + 1}"
        linecache.cache[file] = (len(cell.source), None, cell.source.splitlines(keepends=True), file)
        try:
            tree = ast.parse(_without_magics(cell.source), file)
            if not _runs_whole(cell):
                tree.body = [statement for statement in tree.body if isinstance(statement, DEFINITIONS)]
            exec(compile(tree, file, "exec"), namespace)
        except Exception as error:
            raise NotebookError(f"{file} fails: {type(error).__name__}: {error}") from error
    return namespace


def _runs_whole(cell: nbformat.NotebookNode) -> bool:
    return "setup" in cell.metadata.get("tags", []) or cell.metadata.get("nbgrader", {}).get("solution", False)


def _without_magics(source: str) -> str:
    """Comment out IPython's % and ! lines, which are not Python."""
    lines = source.splitlines()
    return "\n".join(f"pass  # {line}" if line.startswith(("%", "!")) else line for line in lines)
