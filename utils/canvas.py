"""A small SVG canvas for pictures made by code.

A picture is inline SVG. Its text and lines have the colour of the text around it, and its shapes have mid-tone colours,
so that it reads on white and on dark pages. Blue and red are those of the heat maps.
"""

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

BLUE, RED, PURPLE, GREY = "#4393c3", "#d6604d", "#9970ab", "#8c8c8c"
TEXT = "currentColor"
DASHED = "5 3"


@dataclass(frozen=True)
class Diagram:
    """A picture for a notebook to display; `text` describes it in words."""

    svg: str
    text: str

    def _repr_html_(self) -> str:
        return f'<div class="diagram">{self.svg}</div>'

    def __repr__(self) -> str:
        return self.text


class Canvas:
    """An SVG picture being drawn, `width` by `height` pixels; it shrinks where the page is narrower.

    Coordinates are in pixels from the top left. `text` describes the picture for screen readers.
    """

    def __init__(self, width: float, height: float, title: str, text: str):
        self.title, self.text = title, text
        size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}"}
        described = {"role": "img", "aria-label": f"{title}. {text}"}
        style = "max-width: 100%; height: auto; color: inherit; font: 13px sans-serif"
        self.root = ElementTree.Element("svg", size | described, xmlns="http://www.w3.org/2000/svg", style=style)
        self._add("title").text = title
        self._add("desc").text = text

    def _add(self, tag: str, **attributes: object) -> ElementTree.Element:
        named = {name.replace("_", "-"): str(value) for name, value in attributes.items() if value is not None}
        return ElementTree.SubElement(self.root, tag, named)

    def write(
        self, x: float, y: float, text: str, anchor: str = "middle", size: float = 13, bold: bool = False
    ) -> None:
        """Write a line of text whose middle is at height `y`."""
        style = {"text_anchor": anchor, "font_size": size, "font_weight": "bold" if bold else None, "fill": TEXT}
        self._add("text", x=x, y=y + size * 0.35, **style).text = text

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = TEXT, width: float = 1.5, opacity: float = 1
    ) -> None:
        """Draw a straight line."""
        self._add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width, stroke_opacity=opacity)

    def arrow(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = TEXT, width: float = 1.5, opacity: float = 1
    ) -> None:
        """Draw a line with an arrowhead at its second end."""
        end = complex(x2, y2)
        along = (end - complex(x1, y1)) / abs(end - complex(x1, y1))  # of length 1; times 1j, it points across
        back = end - 8 * along
        self.line(x1, y1, back.real, back.imag, colour, width, opacity)
        corners = (end, back + 4j * along, back - 4j * along)
        points = " ".join(f"{corner.real:.1f},{corner.imag:.1f}" for corner in corners)
        self._add("polygon", points=points, fill=colour, fill_opacity=opacity)

    def _shape(self, tag: str, colour: str, dash: str | None = None, fill_opacity: float = 0.25, **place: Any) -> None:
        self._add(tag, fill=colour, fill_opacity=fill_opacity, stroke=colour, stroke_dasharray=dash, **place)

    def box(
        self, x: float, y: float, width: float, height: float, label: str = "", colour: str = GREY, **style: Any
    ) -> None:
        """Draw a rounded box around the middle (x, y), with its label inside; `style` is `dash` and `fill_opacity`."""
        left, top = x - width / 2, y - height / 2
        self._shape("rect", colour, **style, x=left, y=top, rx=5, width=width, height=height, stroke_width=2)
        if label:
            self.write(x, y, label)

    def circle(self, x: float, y: float, radius: float, colour: str, **style: Any) -> None:
        """Draw a circle around (x, y); `style` is `dash` and `fill_opacity`."""
        self._shape("circle", colour, **style, cx=x, cy=y, r=radius, stroke_width=2.5)

    def diagram(self) -> Diagram:
        """Return the finished picture."""
        return Diagram(ElementTree.tostring(self.root, encoding="unicode"), f"{self.title}. {self.text}")
