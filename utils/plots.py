"""Heat maps and attention patterns, drawn the same way in every notebook, without a network."""

from collections.abc import Sequence

import circuitsvis
import numpy as np
import plotly.express as px
import plotly.graph_objects as go
import torch
from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

PIXELS_PER_CELL = 34
FACETS_IN_A_ROW = 3


def imshow(
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
) -> None:
    """Show a matrix, or several side by side, as heat maps.

    White is 0, blue is positive and red is negative; all facets share one scale, which reaches from `-zmax` to `zmax`
    (by default the largest absolute value). `x` and `y` label the columns and rows, `xaxis` and `yaxis` name them,
    and `facet_labels` names the matrices of a three-dimensional tensor.
    """
    figure = heat_map(tensor, title, x, y, xaxis, yaxis, facet_labels, zmax, width, height)
    figure.show()


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
    """The figure that `imshow` shows, for whoever wants to change it first."""
    values = torch.as_tensor(tensor).detach().float().cpu().numpy()
    zmax = zmax or float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    facets = values.shape[0] if values.ndim == 3 else 1
    columns = min(facets, FACETS_IN_A_ROW)
    rows = -(-facets // columns)
    figure = px.imshow(
        values,
        title=title,
        x=None if x is None else list(x),
        y=None if y is None else list(y),
        labels={"x": xaxis, "y": yaxis, "color": "value"},
        zmin=-zmax,
        zmax=zmax,
        color_continuous_scale="RdBu",
        facet_col=0 if values.ndim == 3 else None,
        facet_col_wrap=columns,
        aspect="auto",
    )
    if facet_labels is not None:
        _name_facets(figure, facet_labels)
    figure.update_layout(
        width=width or 150 + columns * (60 + PIXELS_PER_CELL * values.shape[-1] // (2 if columns > 1 else 1)),
        height=height or 130 + rows * (60 + PIXELS_PER_CELL * values.shape[-2] * 2 // 3),
        margin={"l": 60, "r": 20, "t": 70, "b": 60},
    )
    return figure


def _name_facets(figure: go.Figure, facet_labels: Sequence[str]) -> None:
    """Replace plotly's own facet titles, `facet_col=0` and so on, by names."""
    figure.for_each_annotation(lambda note: note.update(text=facet_labels[int(note.text.split("=")[-1])]))


def attention_view(
    pattern: Float[Tensor, "head pos_q pos_k"],
    str_tokens: Sequence[str],
    head_names: Sequence[str],
) -> HTML:
    """Show attention patterns of some heads on one prompt with circuitsvis: pick a head, hover over a token.

    `str_tokens` is the prompt's tokens as text and `head_names` names the heads, for example `["9.9", "9.6"]`. The
    JavaScript (1.3 MB) is part of the output, so that the view needs no network: show several heads in one view.
    """
    view = circuitsvis.attention.attention_heads(
        attention=pattern.detach().float().cpu(),
        tokens=list(str_tokens),
        attention_head_names=list(head_names),
    )
    return HTML(view.local_src)


def topk_of_Nd_tensor(tensor: Float[Tensor, "..."], k: int) -> list[tuple[int, ...]]:
    """The indices of the `k` largest entries of a tensor of any shape, largest first.

    For a `[layer, head]` tensor that is a list of (layer, head) pairs.
    """
    flat_indices = tensor.flatten().topk(k).indices
    indices = torch.unravel_index(flat_indices, tensor.shape)
    return list(zip(*(index.tolist() for index in indices), strict=True))
