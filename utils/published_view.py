"""What was published for gpt2-small, folded, to be shown beside a map of one's own.

The pictures are SVG: plotly draws nothing while its figure is folded away.
"""

from collections.abc import Sequence
from html import escape

import plotly.colors
import torch
from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from utils.diagrams import Canvas, Diagram
from utils.errors import WorkbookError
from utils.ioi import position_labels
from utils.models import model_name
from utils.plots import COLOURS, FACETS_IN_A_ROW
from utils.published import published_patching, published_results
from utils.sweep_specs import PUBLISHED_SWEEPS

# In pixels.
CELL, CELL_OF_A_FACET = 20, 15
LEFT, ABOVE, BELOW, BELOW_TOKENS, GAP = 46, 24, 40, 84, 16
SCALE = 16


def published_beside(tensor: Float[Tensor, "..."], name: str) -> HTML:
    """Show, folded, what was published for gpt2-small, with its source, beside a map of one's own.

    `name` is `"resid_pre"`, `"block_every"`, `"head_out_all_pos"` or `"head_all_pos_every"`, as in
    `published_patching`. Where the model in use is gpt2-small, the largest difference to `tensor` is printed.
    """
    published = published_patching(name)
    if "pos head" in PUBLISHED_SWEEPS[name].axes:
        raise WorkbookError(f"{name} has a map for each head: pick one of published_patching({name!r}) and imshow it.")
    if model_name() == "gpt2-small":
        _print_difference(torch.as_tensor(tensor).detach().float().cpu(), published)
    picture = _draw(published, name)
    source = published_results()["sources"]["activation_patching"].split(" (")[0]
    return HTML(
        "<details><summary>What gpt2-small shows (published)</summary>"
        f"{picture._repr_html_()}<p>Source: {escape(source)}.</p></details>"
    )


def _print_difference(own: Float[Tensor, "..."], published: Float[Tensor, "..."]) -> None:
    if own.shape != published.shape:
        print(f"This map has the shape {tuple(own.shape)}, the published one {tuple(published.shape)}.")
        return
    print(f"Largest difference from the published map: {(own - published).abs().max().item():.4f}")


def _draw(published: Float[Tensor, "..."], name: str) -> Diagram:
    """A published result as a picture, in the colours of `heat_map`; hovering over a square tells place and value."""
    components = PUBLISHED_SWEEPS[name].components
    maps = published.reshape(len(components), *published.shape[-2:])
    by_position = PUBLISHED_SWEEPS[name].by_position
    tokens = position_labels(published_results()["str_tokens_prompt_0"])
    columns = tokens if by_position else [str(head) for head in range(maps.shape[-1])]

    cell = CELL if len(maps) == 1 else CELL_OF_A_FACET
    below = BELOW_TOKENS if by_position else BELOW
    in_a_row = min(len(maps), FACETS_IN_A_ROW)
    width, height = cell * maps.shape[-1] + LEFT + GAP, cell * maps.shape[-2] + ABOVE + below
    canvas = Canvas(
        in_a_row * width + 60,
        -(-len(maps) // in_a_row) * height,
        f"Patching {', '.join(components)} (gpt2-small, published)",
        _in_words(maps, components, by_position),
    )
    zmax = maps.abs().max().item()
    for number, (values, component) in enumerate(zip(maps, components, strict=True)):
        left, top = number % in_a_row * width + LEFT, number // in_a_row * height + ABOVE
        _draw_map(canvas, values, left, top, cell, columns, by_position, zmax)
        canvas.write(left, top - 12, component, "start", bold=True)
    _draw_scale(canvas, in_a_row * width, ABOVE, zmax)
    return canvas.diagram()


def _draw_map(
    canvas: Canvas,
    values: Float[Tensor, "layer column"],
    left: float,
    top: float,
    cell: int,
    columns: Sequence[str],
    by_position: bool,
    zmax: float,
) -> None:
    for layer, row in enumerate(values.tolist()):
        y = top + cell * (layer + 0.5)
        canvas.write(left - 4, y, str(layer), "end", size=10)
        for column, value in enumerate(row):
            place = f"layer {layer}, {columns[column]}" if by_position else f"{layer}.{column}"
            x = left + cell * (column + 0.5)
            canvas.square(x, y, cell - 1, _colour(value / zmax), f"{place}: {value:.3f}")
    bottom = top + cell * len(values)
    for column, label in enumerate(columns):
        x = left + cell * (column + 0.5)
        if by_position:
            canvas.write_aslant(x + 3, bottom + 10, label, size=10)
        else:
            canvas.write(x, bottom + 9, label, size=10)
    canvas.write(left - 30, top - 10, "layer", size=10)
    canvas.write(
        left + cell * len(columns) / 2,
        bottom + (64 if by_position else 25),
        "position" if by_position else "head",
        size=10,
    )


def _draw_scale(canvas: Canvas, left: float, top: float, zmax: float) -> None:
    for number, share in enumerate((1, 0.5, 0, -0.5, -1)):
        y = top + SCALE * (number + 0.5)
        canvas.square(left, y, SCALE, _colour(share), f"{share * zmax:.2f}")
        canvas.write(left + SCALE, y, f"{share * zmax:.2f}", "start", size=10)


def _colour(share: float) -> str:
    """The heat maps' colour of a value, given as its share of the largest."""
    (colour,) = plotly.colors.sample_colorscale(COLOURS, [(share + 1) / 2])
    return colour


def _in_words(maps: Float[Tensor, "map layer column"], components: Sequence[str], by_position: bool) -> str:
    """The largest entries of each map, for those who do not see it."""

    def largest(values: Float[Tensor, "layer column"]) -> str:
        order = values.abs().flatten().argsort(descending=True)[:5].tolist()
        places = [divmod(index, values.shape[-1]) for index in order]
        named = [f"layer {layer} position {column}" if by_position else f"{layer}.{column}" for layer, column in places]
        return ", ".join(f"{name} {values[place]:.2f}" for name, place in zip(named, places, strict=True))

    words = [f"{component}: {largest(values)}" for component, values in zip(components, maps, strict=True)]
    return f"The strongest effects. {'; '.join(words)}."
