"""Runs the code cells of the solutions, so that a claim's test can ask the very cell that the text speaks of."""

import ast
import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from nbformat import NotebookNode
from nbgrader.utils import is_grade, is_solution
from plotly.basedatatypes import BaseFigure
from torch import Tensor

import tests
from selftests.prose import notebooks
from tests.checks.sweeps import result_of
from utils import load_ioi, models, reference_sweep
from utils.sweep_specs import SWEEPS

LAST_VALUE = "_value_of_the_last_line"


@dataclass(frozen=True)
class CellRun:
    """What a cell left behind: the notebook's variables right after it, what it printed, and what it showed."""

    variables: dict[str, Any]
    printed: str
    shown: list[Any]
    """The plotly figures, and the value of the last line where that is an expression."""


def run_to(notebook: str, cell_id: str) -> CellRun:
    """Return the run of a cell of the solutions, after those of all cells before it, each once in a process.

    `notebook` is the notebook's name without `.ipynb`. Raises `KeyError` where it has no such cell, or where that is
    a check.
    """
    return _notebook_run(notebook).to(cell_id)


class NotebookRun:
    """A notebook that is run as far as it is asked to."""

    def __init__(self, notebook: NotebookNode):
        self._variables: dict[str, Any] = {}
        self._runs: dict[str, CellRun] = {}
        self._remaining = iter(code_cells(notebook))

    def to(self, cell_id: str) -> CellRun:
        while cell_id not in self._runs:
            cell = next(self._remaining, None)
            if cell is None:
                raise KeyError(f"There is no cell {cell_id!r} that is run: give the id that the cell has now.")
            printed, shown = run_cell(cell.source, self._variables)
            self._runs[cell.id] = CellRun(dict(self._variables), printed, shown)
        return self._runs[cell_id]


@functools.cache
def _notebook_run(name: str) -> NotebookRun:
    return NotebookRun(notebooks()[name])


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells without the checks. A graded answer in words is no check."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and (is_solution(cell) or not is_grade(cell))]


def run_cell(source: str, variables: dict[str, Any]) -> tuple[str, list[Any]]:
    """Run a cell on ioi-mini among the notebook's variables, and return what it would print and show."""
    shown: list[Any] = []
    tree = ast.parse(source)
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        tree.body[-1] = ast.Assign([ast.Name(LAST_VALUE, ast.Store())], tree.body[-1].value)
    with contextlib.redirect_stdout(io.StringIO()) as printed, _as_in_a_front_end(shown):
        exec(compile(ast.fix_missing_locations(tree), "<cell>", "exec"), variables)
    value = variables.pop(LAST_VALUE, None)
    return printed.getvalue(), shown if value is None else [*shown, value]


@contextlib.contextmanager
def _as_in_a_front_end(shown: list[Any]) -> Iterator[None]:
    """Load ioi-mini, collect the figures, and read the results of sweeps, which their checks compare, from the disk."""
    with (
        patch.dict(os.environ, IOI_MODEL=models.GRADING_MODEL),
        patch.object(BaseFigure, "show", lambda figure, *_, **__: shown.append(figure)),
        patch.object(tests, "result_of", _reference),
    ):
        yield


def _reference(sweep: Callable) -> Tensor:
    if sweep.__name__ not in SWEEPS:
        return result_of(sweep)
    model = models.model_in_use()
    return reference_sweep(sweep.__name__, model, load_ioi(model))
