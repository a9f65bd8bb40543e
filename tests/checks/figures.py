"""The heat maps of a learner's plotly figure, as tensors: a check of a figure reads its data, never its pixels."""

import base64
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from jaxtyping import Float
from plotly.basedatatypes import BaseFigure
from torch import Tensor

from tests.checks.checking import CheckFailed, describe, is_plain_tensor
from utils.references import TOLERANCE

HeatMap = Float[Tensor, "row column"]
Matrix = Float[Tensor, "other_row other_column"]
"""A matrix that may have another shape than the heat map."""

A_FIGURE = "a plotly figure with heat maps, such as utils.heat_map returns"


@contextlib.contextmanager
def nothing_shown() -> Iterator[None]:
    """Keep figures from being displayed: outside a notebook, plotly would open each in a browser."""
    with mock.patch.object(BaseFigure, "show", lambda *_, **__: None):
        yield


def read_heat_maps(figure: object, checked: str, verb: str, labels: Sequence[str] = ()) -> list[HeatMap]:
    """Return the matrices of a figure's heat maps, as float64 and in the order in which the figure has them.

    Rows and columns that the figure names by `labels`, in whatever order, are returned in the order of `labels`.
    Raises `CheckFailed` for anything but a plotly figure with heat maps; `verb` is what its hint says to do with a
    figure, `"return"` or `"assign"`.
    """
    if not isinstance(figure, BaseFigure):
        raise CheckFailed(checked, A_FIGURE, describe(figure), _not_a_figure_hint(figure, verb))
    try:
        traces = [trace for trace in figure.data if trace.type == "heatmap"]
        others = sorted({trace.type for trace in figure.data} - {"heatmap"})
    except Exception:  # of a class of the learner's own
        raise CheckFailed(
            checked, A_FIGURE, "a figure whose data cannot be read", f"{verb} a go.Figure of plotly"
        ) from None
    if not traces:
        has = f"a figure without heat maps, with {', '.join(others)}" if others else "an empty figure"
        raise CheckFailed(checked, A_FIGURE, has, "utils.heat_map, px.imshow and go.Heatmap draw heat maps")
    return [_matrix(trace, number, checked, list(labels)) for number, trace in enumerate(traces, start=1)]


def find(heat_map: HeatMap, matrices: Sequence[Matrix]) -> int | None:
    """Return the index of the first matrix that equals a heat map within `TOLERANCE`; None if none does."""
    return next((number for number, matrix in enumerate(matrices) if equal(heat_map, matrix)), None)


def equal(heat_map: HeatMap, matrix: Matrix) -> bool:
    """Return whether two matrices have the same shape and, within `TOLERANCE`, the same entries."""
    return heat_map.shape == matrix.shape and torch.allclose(heat_map, matrix.double(), **TOLERANCE)


def _not_a_figure_hint(value: object, verb: str) -> str:
    if value is None:
        return f"{verb} what utils.heat_map returns: utils.imshow and .show() show a figure and return None"
    if is_plain_tensor(value) or isinstance(value, np.ndarray):
        return f"draw these numbers: {verb} what utils.heat_map returns"
    if isinstance(value, list | tuple):
        return f"{verb} one figure: given a stack of matrices, utils.heat_map draws a heat map for each"
    return f"{verb} the figure itself, one of plotly's"


def _matrix(trace: Any, number: int, checked: str, labels: list[str]) -> HeatMap:
    try:
        values = np.array(_decoded(trace.z), dtype=np.float64)  # a copy: plotly's arrays are read-only
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 2 or not values.size:
        raise CheckFailed(
            checked,
            "heat maps whose z is a matrix of numbers",
            f"heat map {number} has another z",
            "give it a tensor of two axes, or lists of numbers of one length",
        )
    matrix = torch.from_numpy(values.T if trace.transpose else values)
    n_rows, n_columns = matrix.shape
    rows, columns = _order(trace.y, labels, n_rows), _order(trace.x, labels, n_columns)
    return matrix[rows][:, columns]


def _decoded(z: Any) -> Any:
    """Return the entries of a heat map: in a figure read from JSON, plotly leaves them as base64."""
    if isinstance(z, dict):
        shape = [int(size) for size in str(z.get("shape")).split(",")]
        return np.frombuffer(base64.b64decode(z["bdata"]), z["dtype"]).reshape(shape)
    return z


def _order(names: Iterable[object] | None, labels: list[str], size: int) -> list[int]:
    """Return the indices that put rows or columns, if `labels` in another order name them, in the order of `labels`."""
    found = [str(name) for name in (() if names is None else names)]
    named = len(found) == size and sorted(found) == sorted(labels)
    return [found.index(label) for label in labels] if named else list(range(size))


def mean_attention_hint(heat_map: HeatMap, patterns: Float[Tensor, "batch pos_q pos_k"]) -> str:
    """Return a hint for the usual mistake that draws a head's patterns so; empty where no usual mistake does."""
    mean = patterns.double().mean(dim=0)
    causes = [
        *((pattern, "average over the prompts: this is a single prompt") for pattern in patterns),
        (patterns.sum(dim=0), "average over the prompts, do not sum"),
        (mean.T, "rows are the positions that attend, columns those attended to: do not transpose"),
        (mean.flip(0), "the rows are in reverse order: keep their order, and reverse the axis of the figure instead"),
    ]
    hint = next((hint for matrix, hint in causes if equal(heat_map, matrix)), "")
    if hint or heat_map.shape != mean.shape:
        return hint
    if heat_map.isnan().any():
        return "some entries hold no number: draw every entry"
    if torch.allclose(heat_map, mean, rtol=0, atol=6e-3):
        return "the numbers are nearly right: draw them as they are, and round nothing"
    if equal(heat_map / heat_map.max(), mean / mean.max()):
        return "the numbers are scaled: draw the shares of attention as they are, between 0 and 1"
    return ""
