"""Diagrams as SVG made by code: abstract networks, a transformer block, and circuits.

A diagram is inline SVG. Its text and lines have the colour of the text around it, and its shapes have mid-tone colours,
so that it reads on white and on dark pages. Blue and red are those of the heat maps.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from utils.circuit import HEAD_CLASSES, POSITIONS, Circuit, Head, head_name, read_circuit

BLUE, RED, PURPLE, GREY = "#4393c3", "#d6604d", "#9970ab", "#8c8c8c"
TEXT = "currentColor"
COLOURS = {
    "duplicate token": "#d08700",
    "previous token": GREY,
    "induction": "#1b9e77",
    "s-inhibition": PURPLE,
    "name mover": BLUE,
    "backup name mover": BLUE,
    "negative name mover": RED,
}
DASHED = "5 3"
CLEAN, CORRUPTED, MIXED = ("clean", BLUE), ("corrupted", RED), ("neither", PURPLE)


@dataclass(frozen=True)
class Diagram:
    """A picture for a notebook to display; `text` says in words what it shows."""

    svg: str
    text: str

    def _repr_html_(self) -> str:
        return f'<div class="diagram">{self.svg}</div>'

    def __repr__(self) -> str:
        return self.text


class Canvas:
    """An SVG picture in the making, `width` by `height` pixels; where the page is narrower it shrinks."""

    def __init__(self, width: float, height: float, title: str, text: str):
        self.title, self.text = title, text
        self.root = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {width:g} {height:g}",
                "width": f"{width:g}",
                "role": "img",
                "aria-label": f"{title}. {text}",
                "font-family": "sans-serif",
                "font-size": "13",
                "style": "max-width: 100%; height: auto; color: inherit",
            },
        )
        self._add("title").text = title
        self._add("desc").text = text

    def _add(self, tag: str, **attributes: object) -> ElementTree.Element:
        named = {name.replace("_", "-"): str(value) for name, value in attributes.items() if value is not None}
        return ElementTree.SubElement(self.root, tag, named)

    def write(
        self, x: float, y: float, text: str, anchor: str = "middle", size: float = 13, bold: bool = False
    ) -> None:
        """Write a line of text whose middle is at height `y`."""
        weight = "bold" if bold else None
        self._add(
            "text", x=x, y=y + size * 0.35, text_anchor=anchor, font_size=size, font_weight=weight, fill=TEXT
        ).text = text

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = TEXT, width: float = 1.5, opacity: float = 1
    ) -> None:
        self._add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width, stroke_opacity=opacity)

    def arrow(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = TEXT, width: float = 1.5, opacity: float = 1
    ) -> None:
        """A line with a head at its second end."""
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        along_x, along_y = (x2 - x1) / length, (y2 - y1) / length
        back_x, back_y = x2 - 8 * along_x, y2 - 8 * along_y
        self.line(x1, y1, back_x, back_y, colour, width, opacity)
        corners = [
            (x2, y2),
            (back_x - 4 * along_y, back_y + 4 * along_x),
            (back_x + 4 * along_y, back_y - 4 * along_x),
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self._add("polygon", points=points, fill=colour, fill_opacity=opacity)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        label: str = "",
        colour: str = GREY,
        dash: str | None = None,
        fill_opacity: float = 0.25,
    ) -> None:
        """A rounded box around the middle (x, y), with its label inside."""
        self._add(
            "rect",
            x=x - width / 2,
            y=y - height / 2,
            width=width,
            height=height,
            rx=5,
            fill=colour,
            fill_opacity=fill_opacity,
            stroke=colour,
            stroke_width=2,
            stroke_dasharray=dash,
        )
        if label:
            self.write(x, y, label)

    def circle(
        self, x: float, y: float, radius: float, colour: str, dash: str | None = None, fill_opacity: float = 0.25
    ) -> None:
        self._add(
            "circle",
            cx=x,
            cy=y,
            r=radius,
            fill=colour,
            fill_opacity=fill_opacity,
            stroke=colour,
            stroke_width=2.5,
            stroke_dasharray=dash,
        )

    def square(self, x: float, y: float, size: float, colour: str, hover: str) -> None:
        """A plain square around the middle (x, y), which tells `hover` when the mouse is over it."""
        square = self._add("rect", x=x - size / 2, y=y - size / 2, width=size, height=size, fill=colour)
        ElementTree.SubElement(square, "title").text = hover

    def write_aslant(self, x: float, y: float, text: str, size: float = 13) -> None:
        """Write a line of text that ends at (x, y) and comes up to it from the left."""
        self._add(
            "text", x=x, y=y, text_anchor="end", font_size=size, fill=TEXT, transform=f"rotate(-45 {x:g} {y:g})"
        ).text = text

    def diagram(self) -> Diagram:
        return Diagram(ElementTree.tostring(self.root, encoding="unicode"), f"{self.title}. {self.text}")


# An abstract network: three positions, four layers; information goes up and to the right.
COLUMNS, ROWS, STEP, RADIUS = 3, 4, 74, 15
PATCHED = (1, 1)  # column, row
Node = tuple[int, int]


def forward_pass_diagram() -> Diagram:
    """An abstract network in a plain forward pass."""
    canvas = Canvas(
        330,
        330,
        "A forward pass",
        "A network of three positions and four layers. Each node takes its value from the nodes below it and to the "
        "left; the input is at the bottom, the output at the top right.",
    )
    _draw_network(canvas, 70, 50, dict.fromkeys(_nodes(), ("", BLUE)))
    canvas.write(70 + STEP, 306, "input")
    return canvas.diagram()


def patched_pass_diagram() -> Diagram:
    """The same network, patched: one node's value comes from the other run, and all downstream of it is mixed."""
    canvas = Canvas(
        720,
        420,
        "A patched forward pass",
        "Two networks. On the left the clean run. On the right the corrupted run, in which one node, the patch, takes "
        "its value from the clean run. Everything downstream of it is neither clean nor corrupted; the rest stays "
        "corrupted.",
    )
    left, right, top = 70, 440, 80
    canvas.write(left + STEP, 22, "clean run, kept in the cache", bold=True)
    canvas.write(right + STEP, 22, "corrupted run, patched", bold=True)
    _draw_network(canvas, left, top, dict.fromkeys(_nodes(), CLEAN))
    _draw_network(canvas, right, top, {node: _state(node) for node in _nodes()})
    (x1, y), (x2, _) = _place(left, top, PATCHED), _place(right, top, PATCHED)
    below = y + RADIUS + 9  # past the nodes between the two, not through them
    canvas.line(x1 + 13, y + 10, x1 + 32, below, width=3)
    canvas.line(x1 + 32, below, x2 - 32, below, width=3)
    canvas.arrow(x2 - 32, below, x2 - 14, y + 10, width=3)
    canvas.write((left + 2 * STEP + right) / 2, below - 14, "patch", bold=True)
    for number, (name, colour) in enumerate((CLEAN, CORRUPTED, MIXED)):
        x = 130 + 150 * number
        _draw_node(canvas, x, 396, name, colour, radius=9)
        canvas.write(x + 18, 396, "neither: downstream of the patch" if name == "neither" else name, "start")
    return canvas.diagram()


def _nodes() -> list[Node]:
    return [(column, row) for row in range(ROWS) for column in range(COLUMNS)]


def _state(node: Node) -> tuple[str, str]:
    """Whether a node of the patched run is clean, corrupted or neither, as name and colour."""
    if node == PATCHED:
        return CLEAN
    return MIXED if node[0] >= PATCHED[0] and node[1] > PATCHED[1] else CORRUPTED


def _place(left: float, top: float, node: Node) -> tuple[float, float]:
    column, row = node
    return left + STEP * column, top + STEP * (ROWS - 1 - row)


def _draw_network(canvas: Canvas, left: float, top: float, states: Mapping[Node, tuple[str, str]]) -> None:
    for column, row in states:
        x, y = _place(left, top, (column, row))
        for reader in range(column, COLUMNS) if row + 1 < ROWS else ():
            reader_x, reader_y = _place(left, top, (reader, row + 1))
            length = ((reader_x - x) ** 2 + (reader_y - y) ** 2) ** 0.5
            part_x, part_y = (reader_x - x) / length, (reader_y - y) / length
            start, end = RADIUS + 2, RADIUS + 4
            colour = states[column, row][1]
            canvas.arrow(
                x + start * part_x,
                y + start * part_y,
                reader_x - end * part_x,
                reader_y - end * part_y,
                colour,
                1.5,
                0.8,
            )
    for node, (name, colour) in states.items():
        _draw_node(canvas, *_place(left, top, node), name, colour)
    x, y = _place(left, top, (COLUMNS - 1, ROWS - 1))
    canvas.arrow(x, y - RADIUS - 1, x, y - RADIUS - 17, states[COLUMNS - 1, ROWS - 1][1])
    canvas.write(x + 14, y - RADIUS - 12, "output", "start")


def _draw_node(canvas: Canvas, x: float, y: float, name: str, colour: str, radius: float = RADIUS) -> None:
    """A node; full if clean, empty if corrupted, dashed if neither: colour is not all that tells them apart."""
    dash, opacity = {"corrupted": (None, 0.0), "neither": (DASHED, 0.3)}.get(name, (None, 0.75))
    canvas.circle(x, y, radius, colour, dash, opacity)


def block_diagram() -> Diagram:
    """What can be patched in a transformer block, and that a patch is at one position or at all."""
    canvas = Canvas(
        720,
        400,
        "What can be patched in a transformer block",
        "The residual stream runs from the bottom to the top. The attention heads read it and add attn_out to it, the "
        "MLP reads the sum and adds mlp_out. Marked in blue are activations that can be patched: resid_pre, one "
        "head's output z (or its q, k, v or pattern), attn_out and mlp_out, each at one position or at all.",
    )
    stream, side = 90, 265
    canvas.arrow(stream, 375, stream, 20, width=3)
    canvas.write(stream, 388, "residual stream", size=12)
    _draw_layer(canvas, stream, 320, 210, [side - 66, side - 22, side + 22, side + 66], ["0", "1", "...", "11"])
    _draw_layer(canvas, stream, 160, 70, [side], ["MLP"])
    canvas.write(side + 96, 256, "attention heads,", "start")
    canvas.write(side + 96, 274, "in each: q, k, v, pattern, z", "start")
    for x, y, name in (
        (stream, 348, "resid_pre"),
        (side - 22, 228, "z"),
        (stream + 50, 210, "attn_out"),
        (stream + 50, 70, "mlp_out"),
    ):
        canvas.circle(x, y, 7, BLUE, fill_opacity=1)
        beside = name in ("resid_pre", "z")
        canvas.write(x + 14 if beside else x, y if beside else y - 18, name, "start" if beside else "middle", bold=True)
    for y in (210, 70):
        canvas.circle(stream, y, 10, GREY, fill_opacity=1)
        canvas.write(stream, y, "+", bold=True)
    _draw_positions(canvas, 500, 90, "at one position", {3})
    _draw_positions(canvas, 500, 170, "or at all positions", set(range(6)))
    return canvas.diagram()


def _draw_layer(
    canvas: Canvas, stream: float, read: float, write: float, places: list[float], labels: list[str]
) -> None:
    """What a layer's parts read from the residual stream at height `read`, and add to it further up."""
    middle, half = (read + write) / 2, 17
    canvas.line(stream, read, places[-1], read)
    canvas.arrow(places[-1], write, stream + 11, write)
    for x, label in zip(places, labels, strict=True):
        canvas.arrow(x, read, x, middle + half)
        canvas.line(x, middle - half, x, write)
        canvas.box(x, middle, 36 if len(places) > 1 else 120, 2 * half, label, BLUE if label == "1" else GREY)


def _draw_positions(canvas: Canvas, x: float, y: float, label: str, patched: set[int]) -> None:
    canvas.write(x, y - 28, label, "start")
    for position in range(6):
        colour = BLUE if position in patched else GREY
        canvas.box(x + 14 + 32 * position, y, 26, 26, "", colour, fill_opacity=0.75 if position in patched else 0.12)


# A circuit: positions from left to right, layers from bottom to top.
HEAD_WIDTH, HEAD_HEIGHT, HEAD_GAP, LAYER_HEIGHT, LEGEND_HEIGHT = 44, 22, 5, 34, 24
LEFT, TOP, LANE = 70, 50, 62
MOST_IN_A_ROW = 8
EXAMPLE_TOKENS = {"S1": "John", "S1+1": "and", "IO": "Mary", "S2": "John", "END": "to"}
Places = dict[tuple[str, int], list[tuple[str, Head]]]


def patch_reach_diagram(first_difference: int = 10, layer: int = 5, position: int = 12) -> Diagram:
    """Which activations of a run with 12 layers and 15 positions a patch of resid_pre can change."""
    n_layers, n_positions, size = 12, 15, 22
    left, bottom = 70, 40 + n_layers * size
    canvas = Canvas(
        left + n_positions * size + 250,
        bottom + 60,
        "What a patch can change",
        f"A grid of layers and positions. Clean and corrupted run agree before position {first_difference}. A patch of "
        f"resid_pre in layer {layer} at position {position} can change layers from {layer} on at positions from "
        f"{position} on, and nothing else.",
    )
    for row in range(n_layers):
        for column in range(n_positions):
            changed = row >= layer and column >= position
            colour = BLUE if (row, column) == (layer, position) else PURPLE if changed else GREY
            opacity = 0.08 if column < first_difference else 0.85 if changed else 0.3
            x, y = left + (column + 0.5) * size, bottom - (row + 0.5) * size
            canvas.box(x, y, size - 4, size - 4, colour=colour, fill_opacity=opacity)
    for row in range(n_layers):
        canvas.write(left - 12, bottom - (row + 0.5) * size, str(row), size=11)
    for column in range(n_positions):
        canvas.write(left + (column + 0.5) * size, bottom + 12, str(column), size=11)
    canvas.write(left - 20, 24, "layer")
    canvas.write(left + n_positions * size / 2, bottom + 34, "position")
    legend = [
        (BLUE, 0.85, "the patch"),
        (PURPLE, 0.85, "can change: compute"),
        (GREY, 0.3, "as in the corrupted run: keep"),
        (GREY, 0.08, "the same in both runs: no patch"),
    ]
    for line, (colour, opacity, text) in enumerate(legend):
        y = 60 + 28 * line
        canvas.box(left + n_positions * size + 26, y, size - 4, size - 4, colour=colour, fill_opacity=opacity)
        canvas.write(left + n_positions * size + 46, y, text, "start")
    return canvas.diagram()


def circuit_diagram(circuit: Mapping[str, object], title: str = "The IOI circuit", n_layers: int = 12) -> Diagram:
    """Draw a circuit, whole or in part: heads at their layers and positions, an arrow from where each class looks.

    `circuit` maps classes (see `utils.circuit.HEAD_CLASSES`) to heads. Raises `CircuitError` for what is no circuit.
    """
    read = {name: heads for name, heads in read_circuit(circuit, n_layers, n_heads=1000).items() if heads}
    places = _places(read)
    lanes = _lanes(places)
    width = max(lanes["END"] + _room(places, "END") + 20, 680)
    bottom = TOP + LAYER_HEIGHT * n_layers
    canvas = Canvas(width, bottom + 88 + LEGEND_HEIGHT * max(len(read), 1), title, _in_words(read))
    canvas.write(LEFT - 44, 20, title, "start", 15, bold=True)
    _draw_grid(canvas, lanes, bottom, n_layers)
    for name, heads in read.items():
        for layer in sorted({layer for layer, _ in heads}):
            _draw_reading(canvas, name, layer, places, lanes, bottom)
    for (position, layer), row in places.items():
        _draw_row(canvas, row, lanes[position], _height(layer, bottom))
    _draw_legend(canvas, read, bottom + 92)
    return canvas.diagram()


def _places(circuit: Circuit) -> Places:
    """The heads that stand at each position in each layer, with their classes."""
    places: Places = {}
    for name, heads in circuit.items():
        for head in heads:
            places.setdefault((HEAD_CLASSES[name].acts_at, head[0]), []).append((name, head))
    return places


def _room(places: Places, position: str) -> float:
    """How wide the longest row of heads at a position is, with the space before it."""
    longest = max((min(len(row), MOST_IN_A_ROW + 1) for (at, _), row in places.items() if at == position), default=0)
    return LANE + longest * (HEAD_WIDTH + HEAD_GAP)


def _lanes(places: Places) -> dict[str, float]:
    """Where each position's residual stream is drawn, from left to right."""
    lanes, x = {}, LEFT + 20
    for position in POSITIONS:
        lanes[position] = x
        x += max(_room(places, position), 92)
    return lanes


def _height(layer: int, bottom: float) -> float:
    return bottom - LAYER_HEIGHT * (layer + 0.5)


def _draw_grid(canvas: Canvas, lanes: Mapping[str, float], bottom: float, n_layers: int) -> None:
    """The layers' numbers, and the residual stream of each position with its name and an example of its token."""
    canvas.write(LEFT - 44, TOP - 6, "layer", "start", 12)
    note = "Arrows lead from where heads look to where they write; what they write goes up from there."
    canvas.write(LEFT - 44, bottom + 62, note, "start", 12)
    for layer in range(n_layers):
        canvas.write(LEFT - 30, _height(layer, bottom), str(layer), size=12)
    for position, x in lanes.items():
        canvas.line(x, bottom, x, TOP, width=2, opacity=0.45)
        canvas.write(x, bottom + 16, position, bold=True)
        canvas.write(x, bottom + 34, EXAMPLE_TOKENS[position], size=12)
    canvas.arrow(lanes["END"], TOP, lanes["END"], TOP - 16, width=2)
    canvas.write(lanes["END"] + 12, TOP - 10, "answer", "start", 12)


def _draw_reading(
    canvas: Canvas, name: str, layer: int, places: Places, lanes: Mapping[str, float], bottom: float
) -> None:
    """An arrow from where a class looks to its heads in one layer; those of several classes lie side by side."""
    head_class = HEAD_CLASSES[name]
    classes = list(dict.fromkeys(other for other, _ in places[head_class.acts_at, layer]))
    y = _height(layer, bottom) + 6 * (classes.index(name) - (len(classes) - 1) / 2)
    start, end = lanes[head_class.looks_at], lanes[head_class.acts_at] + LANE / 2 - HEAD_GAP
    canvas.circle(start, y, 2.5, COLOURS[name], fill_opacity=1)
    canvas.arrow(start, y, end, y, COLOURS[name], 2, 0.9)


def _draw_row(canvas: Canvas, row: list[tuple[str, Head]], lane: float, y: float) -> None:
    x = lane + LANE / 2 + HEAD_WIDTH / 2
    for name, head in row[:MOST_IN_A_ROW]:
        _draw_head(canvas, x, y, head_name(head), name)
        x += HEAD_WIDTH + HEAD_GAP
    if len(row) > MOST_IN_A_ROW:
        canvas.write(x, y, f"+{len(row) - MOST_IN_A_ROW}")


def _draw_head(canvas: Canvas, x: float, y: float, label: str, name: str) -> None:
    dash = DASHED if name == "backup name mover" else None
    canvas.box(x, y, HEAD_WIDTH, HEAD_HEIGHT, label, COLOURS[name], dash)


def _draw_legend(canvas: Canvas, circuit: Circuit, top: float) -> None:
    if not circuit:
        canvas.write(LEFT - 44, top, "No head is listed yet.", "start")
    for number, name in enumerate(circuit):
        y = top + LEGEND_HEIGHT * number
        _draw_head(canvas, LEFT - 22, y, "", name)
        canvas.write(LEFT + 10, y, name, "start", bold=True)
        canvas.write(LEFT + 165, y, _role(name), "start")


def _role(name: str) -> str:
    head_class = HEAD_CLASSES[name]
    return f"at {head_class.acts_at}, look at {head_class.looks_at} and write: {head_class.moves}"


def _in_words(circuit: Circuit) -> str:
    """The same circuit for those who do not see it, bottom to top."""

    def sentences() -> Iterator[str]:
        for name, heads in circuit.items():
            yield f"{name} ({', '.join(map(head_name, heads))}): {_role(name)}."

    return " ".join(sentences()) or "No head is listed yet."
