"""The README's picture, drawn again: `python -m preview.picture`."""

from pathlib import Path
from xml.etree import ElementTree

from plotly.colors import sample_colorscale

from utils import position_labels, published_patching, published_results
from utils.canvas import Canvas
from utils.plots import COLOURS

FILE = Path(__file__).parents[1] / "docs" / "resid_pre.svg"
LEFT, TOP, CELL = 46, 24, 20


def picture() -> str:
    """The published heat map of resid_pre as SVG, in a grey that can be read on white and on dark pages."""
    values = published_patching("resid_pre")
    text = "S2, John 10, matters up to layer 8, and END, to 14, from layer 9 on."
    canvas = Canvas(422, 348, "Patching resid_pre (gpt2-small, published)", text)
    canvas.write(LEFT, 12, "resid_pre", "start", bold=True)
    canvas.write(16, 14, "layer", size=10)
    for layer, row in enumerate(values.tolist()):
        canvas.write(LEFT - 4, TOP + CELL * (layer + 0.5), str(layer), "end", size=10)
        for column, value in enumerate(row):
            _draw_square(canvas, LEFT + CELL * column, TOP + CELL * layer, value / values.abs().max().item())
    for column, label in enumerate(position_labels(published_results()["str_tokens_prompt_0"])):
        _write_aslant(canvas, LEFT + CELL * (column + 0.5) + 3, TOP + 12 * CELL + 10, label)
    for number, share in enumerate((1, 0.5, 0, -0.5, -1)):
        _draw_square(canvas, 362, TOP + CELL * number, share)
        canvas.write(386, TOP + CELL * (number + 0.5), f"{share * values.abs().max():.2f}", "start", size=10)
    canvas.write(LEFT + 7.5 * CELL, 328, "position", size=10)
    return canvas.diagram().svg.replace("color: inherit", "color: #808080", 1) + "\n"


def _draw_square(canvas: Canvas, x: float, y: float, share: float) -> None:
    """Draw a value in the colour of the heat maps, from its share of the largest absolute value."""
    (colour,) = sample_colorscale(COLOURS, [(share + 1) / 2])
    place = {"x": f"{x:g}", "y": f"{y:g}", "width": f"{CELL - 1}", "height": f"{CELL - 1}"}
    ElementTree.SubElement(canvas.root, "rect", place, fill=colour)


def _write_aslant(canvas: Canvas, x: float, y: float, text: str) -> None:
    """Write a line of text that rises from the left and ends at (x, y)."""
    turned = {"transform": f"rotate(-45 {x:g} {y:g})", "text-anchor": "end", "font-size": "10", "fill": "currentColor"}
    ElementTree.SubElement(canvas.root, "text", turned, x=f"{x:g}", y=f"{y:g}").text = text


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(picture(), encoding="utf-8")
