"""The published maps of gpt2-small, folded, for a notebook to show beside the learner's own.

They are HTML tables, whose numbers screen readers find: plotly draws nothing while its figure is folded away. Their
style is inline, because a page's own rules for tables reach them too.
"""

from collections.abc import Sequence
from html import escape

import plotly.colors
import torch
from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from utils.errors import WorkbookError
from utils.ioi import position_labels
from utils.models import has_published_heads, model_name
from utils.plots import COLOURS
from utils.published import published_patching, published_results
from utils.sweep_specs import PUBLISHED_SWEEPS

TABLE = "width: auto; margin: 0; border-collapse: separate; border-spacing: 1px; color: inherit; font: 12px sans-serif"
LABEL = "padding: 0 2px; border: none; text-align: center; font-weight: normal"
UPRIGHT = f"{LABEL}; padding: 2px 0; text-align: right; writing-mode: vertical-rl; transform: rotate(180deg)"
CELL = "min-width: 18px; height: 18px; padding: 0; border: none; font-size: 0"
"""A cell's tooltip shows its number."""


def published_beside(tensor: Float[Tensor, "..."], name: str) -> HTML:
    """Return the published map of gpt2-small, folded and with its source, to be shown beside the learner's `tensor`.

    `name` is `"resid_pre"`, `"block_every"`, `"head_out_all_pos"` or `"head_all_pos_every"`, as in
    `published_patching`. Prints the largest difference from `tensor` where the model in use is gpt2-small. Raises
    `WorkbookError` for another name.
    """
    published = published_patching(name)
    if "pos head" in PUBLISHED_SWEEPS[name].axes:
        raise WorkbookError(f"{name} has a map for each head: pick one of published_patching({name!r}) and imshow it.")
    if model_name() == "gpt2-small":
        own = torch.as_tensor(tensor).detach().float().cpu()
        if own.shape == published.shape:
            print(f"Largest difference from the published map: {(own - published).abs().max().item():.4f}")
        else:
            print(f"This map has the shape {tuple(own.shape)}, the published one {tuple(published.shape)}.")
    source = published_results()["sources"]["activation_patching"].split(" (")[0]
    another = "" if has_published_heads() else ": another model, whose layers and heads are not those of this one"
    return HTML(
        f"<details><summary>What gpt2-small shows (published){another}</summary>"
        f"{_tables(published, name)}<p>Source: {escape(source)}.</p></details>"
    )


def _tables(published: Float[Tensor, "..."], name: str) -> str:
    """Return a table for each component, in the colours of `heat_map`, and the scale of all."""
    components = PUBLISHED_SWEEPS[name].components
    maps = published.reshape(len(components), *published.shape[-2:])
    labels = position_labels(published_results()["str_tokens_prompt_0"]) if PUBLISHED_SWEEPS[name].by_position else []
    zmax = maps.abs().max().item()
    columns, place = (labels, "layer {}, {}") if labels else ([str(head) for head in range(maps.shape[-1])], "{}.{}")
    tables = "".join(
        map_table(f"<b>{component}</b> [layer {'pos' if labels else 'head'}]", values, columns, zmax, place)
        for component, values in zip(components, maps, strict=True)
    )
    scale = ", ".join(colour for _, colour in plotly.colors.get_colorscale(COLOURS))
    bar = f"display: inline-block; width: 160px; height: 12px; background: linear-gradient(to right, {scale})"
    return (
        f'<div style="display: flex; flex-wrap: wrap; gap: 16px; margin-top: 8px; max-width: 980px">{tables}</div>'
        f'<p>{-zmax:.2f} <span style="{bar}"></span> {zmax:.2f}</p>'
    )


def map_table(
    caption: str,
    values: Float[Tensor, "row column"],
    columns: Sequence[str],
    zmax: float,
    place: str = "layer {}, {}",
) -> str:
    """Return a map as an HTML table, in the colours of `heat_map`; `place` names a cell by its row and column."""
    upright = max(map(len, columns)) > 2
    rows = []
    for number, row in enumerate(values.tolist()):
        colours = plotly.colors.sample_colorscale(COLOURS, [(value / zmax + 1) / 2 for value in row])
        cells = "".join(
            f'<td title="{escape(place.format(number, column))}: {value:.3f}" '
            f'style="{CELL}; background-color: {colour}">{value:.3f}</td>'
            for column, value, colour in zip(columns, row, colours, strict=True)
        )
        rows.append(f'<tr style="background: none"><th style="{LABEL}">{number}</th>{cells}</tr>')
    names = "".join(f'<th style="{UPRIGHT if upright else LABEL}">{escape(column)}</th>' for column in columns)
    rows.append(f'<tr style="background: none"><th></th>{names}</tr>')
    return f'<table style="{TABLE}"><caption>{caption}</caption>{"".join(rows)}</table>'
