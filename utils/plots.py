"""Heat maps and attention patterns for all notebooks; none of them needs a network."""

from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

import circuitsvis
import numpy as np
import plotly.express as px
import plotly.graph_objects as go
import torch
from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from utils.models import has_published_heads

COLOURS = "RdBu"
BAR_COLOURS = ["#2166ac", "#92c5de", "#b2182b"]
"""Of the same scale: dark and light blue, and red."""
FACETS_IN_A_ROW = 3

# In pixels.
CELL = 34
SMALLEST_CELL_OF_A_FACET = 15
LETTER = 7
LETTER_ASLANT = 5
FACET_GAP = 24
WIDEST = 736
"""The width beyond which facets move to the next row, and the squares of a single map are smaller."""
SHORTEST_COLOUR_BAR, LONGEST_COLOUR_BAR = 130, 360


def imshow(
    tensor: Float[Tensor, "row column"] | Float[Tensor, "facet row column"], title: str = "", **options: Any
) -> None:
    """Show a matrix, or several side by side, as heat maps.

    `options` are the further arguments of `heat_map`: x, y, xaxis, yaxis, facet_labels, zmax, width and height.
    """
    heat_map(tensor, title, **options).show()


def heat_map(
    tensor: Float[Tensor, "row column"] | Float[Tensor, "facet row column"],
    title: str = "",
    x: Sequence[str] | None = None,
    y: Sequence[str] | None = None,
    xaxis: str = "",
    yaxis: str = "",
    facet_labels: Sequence[str] | None = None,
    zmax: float | None = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Return the figure that `imshow` shows.

    White is 0, blue is positive and red is negative; all facets share one scale, which reaches from `-zmax` to `zmax`
    (by default the largest absolute value). `x` and `y` label the columns and rows, `xaxis` and `yaxis` name them,
    `facet_labels` names the matrices of a 3-dimensional tensor, and `width` and `height` are in pixels.
    """
    values = torch.as_tensor(tensor).detach().float().cpu().numpy()
    zmax = zmax or float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    facets = values.shape[0] if values.ndim == 3 else 1
    below = 45 + LETTER_ASLANT * _longest(x)
    margin = {"l": 50 + LETTER * _longest(y), "r": 96, "t": 60 if facets == 1 else 75, "b": below}
    room = WIDEST - margin["l"] - margin["r"]
    cells, columns = max(values.shape[-1], 1), min(facets, FACETS_IN_A_ROW)
    cell = (room - (columns - 1) * FACET_GAP) // (columns * cells)
    cell = max(min(cell, CELL), 1 if facets == 1 else SMALLEST_CELL_OF_A_FACET)
    columns = max(min(columns, (room + FACET_GAP) // (cell * cells + FACET_GAP)), 1)
    rows = -(-facets // columns)
    row_gap = max(below + 12, 72)  # with room for the titles of the facets below
    inner_width = columns * cell * values.shape[-1] + (columns - 1) * FACET_GAP
    inner_height = rows * cell * values.shape[-2] + (rows - 1) * row_gap

    figure = px.imshow(
        values,
        x=None if x is None else list(x),
        y=None if y is None else list(y),
        labels={"x": xaxis, "y": yaxis, "color": "value"},
        zmin=-zmax,
        zmax=zmax,
        color_continuous_scale=COLOURS,
        facet_col=0 if values.ndim == 3 else None,
        facet_col_wrap=columns,
        # As fractions of the space inside the margins.
        facet_col_spacing=FACET_GAP / inner_width if columns > 1 else 0,
        facet_row_spacing=row_gap / inner_height if rows > 1 else 0,
        aspect="auto",
    )
    place = f"{xaxis or 'column'}: %{{x}}<br>{yaxis or 'row'}: %{{y}}"
    if (xaxis, yaxis) == ("head", "layer"):
        place = "head %{y}.%{x}"  # as in the text: 9.6
    hover = f"{place}<br>value: %{{z}}<extra></extra>"
    figure.update_traces(hovertemplate=hover, zhoverformat=".3f", xgap=1, ygap=1)
    # Every column has its label and the axis its name, in every facet. Dragging does not zoom.
    axis = {"dtick": 1, "fixedrange": True, "showgrid": False, "zeroline": False}
    figure.update_xaxes(axis, tickangle=-45 * (x is not None), showticklabels=True, title_text=xaxis)
    figure.update_yaxes(axis)
    if facet_labels is not None:
        names = list(facet_labels)  # in place of plotly's own titles, "facet_col=0" and so on
        figure.for_each_annotation(lambda note: note.update(text=names[int(note.text.split("=")[-1])], font_size=13))
    bar_length = min(max(inner_height, SHORTEST_COLOUR_BAR), LONGEST_COLOUR_BAR)
    figure.update_layout(
        title={"text": title, "font_size": 16, "x": 0, "xref": "paper", "y": 1, "yanchor": "top", "pad_t": 18},
        width=width or inner_width + margin["l"] + margin["r"],
        height=height or inner_height + margin["t"] + margin["b"],
        margin=margin,
        font_size=12 if facets == 1 else 11,
        modebar_remove=["sendChartToCloud"],
        coloraxis_colorbar={"lenmode": "pixels", "len": bar_length, "thickness": 14, "nticks": 5},
    )
    return figure


def bar_chart(
    values: Mapping[str, Sequence[SupportsFloat]],
    labels: Sequence[str],
    title: str = "",
    xaxis: str = "",
    yaxis: str = "",
) -> go.Figure:
    """Return a figure with a group of bars for each label, and in it one bar of each series in `values`."""
    heights = [list(map(float, series)) for series in values.values()]  # of 0-dimensional tensors, too
    figure = px.bar(x=list(labels), y=heights, barmode="group", color_discrete_sequence=BAR_COLOURS)
    for trace, name in zip(figure.data, values, strict=True):
        trace.update(name=name, hovertemplate=f"{name}, %{{x}}: %{{y:.2f}}<extra></extra>")
    figure.update_xaxes(fixedrange=True, title_text=xaxis, tickangle=-45)
    figure.update_yaxes(fixedrange=True, title_text=yaxis)
    figure.update_layout(
        title={"text": title, "font_size": 16, "x": 0, "xref": "paper", "y": 1, "yanchor": "top", "pad_t": 18},
        width=WIDEST,
        height=440,
        margin={"l": 60, "r": 20, "t": 90, "b": 45 + LETTER_ASLANT * _longest(labels)},
        legend={"title_text": "", "orientation": "h", "yanchor": "bottom", "y": 1},
        modebar_remove=["sendChartToCloud"],
    )
    return figure


def _longest(labels: Sequence[str] | None) -> int:
    """Return the number of letters of the longest label."""
    return max(map(len, labels or []), default=0)


def attention_view(
    pattern: Float[Tensor, "head pos_q pos_k"], str_tokens: Sequence[str], head_names: Sequence[str]
) -> HTML:
    """Return a circuitsvis view of some heads' attention patterns on one prompt: select a head, hover over a square.

    `str_tokens` is the prompt's tokens as text and `head_names` names the heads, for example `["9.9", "9.6"]`. The
    output contains the JavaScript (1.3 MB), so that the view needs no network: show several heads in one view.
    """
    view = circuitsvis.attention.attention_heads(
        attention=pattern.detach().float().cpu(),
        tokens=list(str_tokens),
        attention_head_names=list(head_names),
    )
    # White like the heat maps, in a dark theme too; head names are small so that the thumbnails stay visible.
    return HTML(
        "<style>.attention-view h4 { font-size: 10px; font-weight: normal; line-height: 1.1; }</style>"
        '<div class="attention-view" style="max-width: 760px; padding-top: 8px; background: white; color: black;">'
        f"{view.local_src}</div>"
    )


def topk_of_Nd_tensor(tensor: Float[Tensor, "..."], k: int) -> list[tuple[int, ...]]:
    """Return the indices of the `k` largest entries of a tensor of any shape, or of all if it has less, largest first.

    For a [layer head] tensor that is a list of (layer, head) pairs.
    """
    flat_indices = tensor.flatten().topk(min(k, tensor.numel())).indices
    indices = torch.unravel_index(flat_indices, tensor.shape)
    return list(zip(*(index.tolist() for index in indices), strict=True))


def heads_or_strongest(heads: list[tuple[int, int]], effects: Float[Tensor, "layer head"]) -> list[tuple[int, int]]:
    """Return the heads of gpt2-small that the text names; on a model without them, as many with the largest effects."""
    strongest = topk_of_Nd_tensor(effects, k=len(heads))
    return heads if has_published_heads() else [(layer, head) for layer, head in strongest]
