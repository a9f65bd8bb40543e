"""The published maps of gpt2-small, folded, for a notebook to show beside the learner's own.

The pictures are SVG: plotly draws nothing while its figure is folded away.
"""

from collections.abc import Sequence
from html import escape

import plotly.colors
import torch
from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from utils.canvas import Canvas, Diagram
from utils.errors import WorkbookError
from utils.ioi import position_labels
from utils.models import model_name
from utils.plots import COLOURS, FACETS_IN_A_ROW, topk_of_Nd_tensor
from utils.published import published_patching, published_results
from utils.sweep_specs import PUBLISHED_SWEEPS

# In pixels.
CELL, CELL_OF_A_FACET = 20, 15
LEFT, ABOVE, BELOW, BELOW_TOKENS, GAP = 46, 24, 40, 84, 16
SCALE = 16


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
    picture = _draw(published, name)
    source = published_results()["sources"]["activation_patching"].split(" (")[0]
    return HTML(
        "<details><summary>What gpt2-small shows (published)</summary>"
        f"{picture._repr_html_()}<p>Source: {escape(source)}.</p></details>"
    )


def _draw(published: Float[Tensor, "..."], name: str) -> Diagram:
    """Draw a published result in the colours of `heat_map`; each square's tooltip tells its place and value."""
    components = PUBLISHED_SWEEPS[name].components
    maps = published.reshape(len(components), *published.shape[-2:])
    by_position = PUBLISHED_SWEEPS[name].by_position
    labels = position_labels(published_results()["str_tokens_prompt_0"]) if by_position else None

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
        _draw_map(canvas, values, left, top, cell, labels, zmax)
        canvas.write(left, top - 12, component, "start", bold=True)
    for number, share in enumerate((1, 0.5, 0, -0.5, -1)):
        y = ABOVE + SCALE * (number + 0.5)
        canvas.square(in_a_row * width, y, SCALE, _colour(share), f"{share * zmax:.2f}")
        canvas.write(in_a_row * width + SCALE, y, f"{share * zmax:.2f}", "start", size=10)
    return canvas.diagram()


def _draw_map(
    canvas: Canvas, values: Tensor, left: float, top: float, cell: int, labels: Sequence[str] | None, zmax: float
) -> None:
    """Draw a map [layer pos], whose positions have `labels`, or a map [layer head]."""
    n_layers, n_columns = values.shape
    bottom, middle = top + cell * n_layers, left + cell * n_columns / 2
    canvas.write(left - 30, top - 10, "layer", size=10)
    for layer, row in enumerate(values.tolist()):
        y = top + cell * (layer + 0.5)
        canvas.write(left - 4, y, str(layer), "end", size=10)
        for column, value in enumerate(row):
            place = f"layer {layer}, {labels[column]}" if labels else f"{layer}.{column}"
            x = left + cell * (column + 0.5)
            canvas.square(x, y, cell - 1, _colour(value / zmax), f"{place}: {value:.3f}")
    for column in range(n_columns):
        x = left + cell * (column + 0.5)
        if labels:
            canvas.write_aslant(x + 3, bottom + 10, labels[column], size=10)
        else:
            canvas.write(x, bottom + 9, str(column), size=10)
    canvas.write(middle, bottom + (64 if labels else 25), "position" if labels else "head", size=10)


def _colour(share: float) -> str:
    """The heat maps' colour of a value, from its share of the largest absolute value."""
    return plotly.colors.sample_colorscale(COLOURS, [(share + 1) / 2])[0]


def _in_words(maps: Float[Tensor, "map layer column"], components: Sequence[str], by_position: bool) -> str:
    """Name the 5 largest entries of each map, for screen readers."""
    form = "layer {} position {}" if by_position else "{}.{}"
    words = []
    for component, values in zip(components, maps, strict=True):
        places = topk_of_Nd_tensor(values.abs(), 5)
        words.append(f"{component}: " + ", ".join(f"{form.format(*place)} {values[place]:.2f}" for place in places))
    return f"The strongest effects. {'; '.join(words)}."
