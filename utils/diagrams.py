"""Diagrams made by code: abstract networks, a transformer block, the reach of a patch, and circuits."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

from utils.canvas import BLUE, DASHED, GREY, PURPLE, RED, Canvas, Diagram
from utils.circuit import HEAD_CLASSES, POSITIONS, Circuit, Head, head_name, read_circuit

COLOURS = {
    "duplicate token": "#d08700",
    "previous token": GREY,
    "induction": "#1b9e77",
    "s-inhibition": PURPLE,
    "name mover": BLUE,
    "backup name mover": BLUE,
    "negative name mover": RED,
}
STATES = {"clean": BLUE, "corrupted": RED, "neither": PURPLE}
"""Of a node, the run whose value it has."""

# An abstract network: three positions, four layers; information goes up and to the right.
COLUMNS, ROWS, STEP, RADIUS = 3, 4, 74, 15
PATCHED = (1, 1)  # column, row
NODES = [(column, row) for row in range(ROWS) for column in range(COLUMNS)]
Node = tuple[int, int]


def forward_pass_diagram() -> Diagram:
    """Draw an abstract network in a plain forward pass."""
    canvas = Canvas(
        330,
        330,
        "A forward pass",
        "A network of three positions and four layers. Each node takes its value from the nodes below it and to the "
        "left; the input is at the bottom, the output at the top right.",
    )
    _draw_network(canvas, 70, 50, dict.fromkeys(NODES, "clean"))
    canvas.write(70 + STEP, 306, "input")
    return canvas.diagram()


def patched_pass_diagram() -> Diagram:
    """Draw the same network, patched: one node has the clean run's value, which affects all nodes downstream."""
    canvas = Canvas(
        720,
        420,
        "A patched forward pass",
        "Two networks. On the left the clean run. On the right the corrupted run, in which one node, the patch, takes "
        "its value from the clean run. Everything downstream of it is neither clean nor corrupted; the rest stays "
        "corrupted.",
    )
    left, right, top = 70, 440, 80
    canvas.write(left + STEP, 22, "clean run, cached", bold=True)
    canvas.write(right + STEP, 22, "corrupted run, patched", bold=True)
    _draw_network(canvas, left, top, dict.fromkeys(NODES, "clean"))
    _draw_network(canvas, right, top, {node: _state(node) for node in NODES})
    (x1, y), (x2, _) = _place(left, top, PATCHED), _place(right, top, PATCHED)
    below = y + RADIUS + 9  # past the nodes between the two, not through them
    canvas.line(x1 + 13, y + 10, x1 + 32, below, width=3)
    canvas.line(x1 + 32, below, x2 - 32, below, width=3)
    canvas.arrow(x2 - 32, below, x2 - 14, y + 10, width=3)
    canvas.write((left + 2 * STEP + right) / 2, below - 14, "patch", bold=True)
    for number, state in enumerate(STATES):
        x = 130 + 150 * number
        _draw_node(canvas, x, 396, state, radius=9)
        canvas.write(x + 18, 396, "neither: downstream of the patch" if state == "neither" else state, "start")
    return canvas.diagram()


def _state(node: Node) -> str:
    """Whether a node of the patched run is clean, corrupted or neither."""
    if node == PATCHED:
        return "clean"
    return "neither" if node[0] >= PATCHED[0] and node[1] > PATCHED[1] else "corrupted"


def _place(left: float, top: float, node: Node) -> tuple[float, float]:
    column, row = node
    return left + STEP * column, top + STEP * (ROWS - 1 - row)


def _draw_network(canvas: Canvas, left: float, top: float, states: Mapping[Node, str]) -> None:
    for (column, row), state in states.items():
        place = complex(*_place(left, top, (column, row)))
        for reader in range(column, COLUMNS) if row + 1 < ROWS else ():
            target = complex(*_place(left, top, (reader, row + 1)))
            along = (target - place) / abs(target - place)
            start, end = place + (RADIUS + 2) * along, target - (RADIUS + 4) * along
            canvas.arrow(start.real, start.imag, end.real, end.imag, STATES[state], opacity=0.8)
    for node, state in states.items():
        _draw_node(canvas, *_place(left, top, node), state)
    x, y = _place(left, top, (COLUMNS - 1, ROWS - 1))
    canvas.arrow(x, y - RADIUS - 1, x, y - RADIUS - 17, STATES[states[COLUMNS - 1, ROWS - 1]])
    canvas.write(x + 14, y - RADIUS - 12, "output", "start")


def _draw_node(canvas: Canvas, x: float, y: float, state: str, radius: float = RADIUS) -> None:
    """Draw a node: filled if clean, empty if corrupted, dashed if neither, so that they differ by more than colour."""
    dash, opacity = {"clean": (None, 0.75), "corrupted": (None, 0.0), "neither": (DASHED, 0.3)}[state]
    canvas.circle(x, y, radius, STATES[state], dash=dash, fill_opacity=opacity)


def block_diagram() -> Diagram:
    """Draw what can be patched in a transformer block, at one position or at all."""
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
    for x, y, name in ((stream, 348, "resid_pre"), (side - 22, 228, "z")):
        canvas.circle(x, y, 7, BLUE, fill_opacity=1)
        canvas.write(x + 14, y, name, "start", bold=True)
    for y, name in ((210, "attn_out"), (70, "mlp_out")):
        canvas.circle(stream + 50, y, 7, BLUE, fill_opacity=1)
        canvas.write(stream + 50, y - 18, name, bold=True)
        canvas.circle(stream, y, 10, GREY, fill_opacity=1)
        canvas.write(stream, y, "+", bold=True)
    _draw_positions(canvas, 500, 90, "at one position", [3])
    _draw_positions(canvas, 500, 170, "or at all positions", range(6))
    return canvas.diagram()


def _draw_layer(
    canvas: Canvas, stream: float, read: float, write: float, places: list[float], labels: list[str]
) -> None:
    """Draw a layer's parts, which read from the residual stream at height `read` and add to it at `write`."""
    middle, half = (read + write) / 2, 17
    canvas.line(stream, read, places[-1], read)
    canvas.arrow(places[-1], write, stream + 11, write)
    for x, label in zip(places, labels, strict=True):
        canvas.arrow(x, read, x, middle + half)
        canvas.line(x, middle - half, x, write)
        canvas.box(x, middle, 36 if len(places) > 1 else 120, 2 * half, label, BLUE if label == "1" else GREY)


def _draw_positions(canvas: Canvas, x: float, y: float, label: str, patched: Collection[int]) -> None:
    canvas.write(x, y - 28, label, "start")
    for position in range(6):
        colour, opacity = (BLUE, 0.75) if position in patched else (GREY, 0.12)
        canvas.box(x + 14 + 32 * position, y, 26, 26, "", colour, fill_opacity=opacity)


def head_inputs_diagram() -> Diagram:
    """Draw the two reasons why a head's output can differ between two runs: where it attends, and what it finds."""
    canvas = Canvas(
        720,
        270,
        "Two reasons why a head's output differs",
        "On the left the head at END attends to one position in the clean run and to another in the corrupted run: "
        "query, key and pattern differ. On the right it attends to the same position in both runs and finds another "
        "value there.",
    )
    where, what = (0, 1), (1, 1)  # the position attended to in the clean and in the corrupted run
    for left, title, attended in ((70, "where: q, k, pattern", where), (430, "what: v", what)):
        columns, head = (left, left + 90, left + 220), 80
        canvas.write(left + 110, 20, title, bold=True)
        for x, label in zip(columns, ("earlier", "S2", "END"), strict=True):
            canvas.box(x, 200, 70, 26, label)
        canvas.arrow(columns[2], 186, columns[2], head + 18)
        for state, column, shift in zip(("clean", "corrupted"), attended, (-9, 9), strict=True):
            x = columns[column] + shift
            canvas.arrow(x, 162, columns[2] - 34, head + shift, STATES[state], 2)
            _draw_node(canvas, x, 171, state, radius=8)
        canvas.box(columns[2], head, 60, 34, "z")
    for x, state in ((270, "clean"), (380, "corrupted")):
        _draw_node(canvas, x, 250, state, radius=8)
        canvas.write(x + 16, 250, state, "start")
    return canvas.diagram()


def patch_reach_diagram(first_difference: int = 10, layer: int = 5, position: int = 12) -> Diagram:
    """Draw which activations a patch of resid_pre can change, in a run with 12 layers and 15 positions."""
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
        y = bottom - (row + 0.5) * size
        canvas.write(left - 12, y, str(row), size=11)
        for column in range(n_positions):
            changed = row >= layer and column >= position
            colour = BLUE if (row, column) == (layer, position) else PURPLE if changed else GREY
            opacity = 0.08 if column < first_difference else 0.85 if changed else 0.3
            canvas.box(left + (column + 0.5) * size, y, size - 4, size - 4, colour=colour, fill_opacity=opacity)
    for column in range(n_positions):
        canvas.write(left + (column + 0.5) * size, bottom + 12, str(column), size=11)
    canvas.write(left - 20, 24, "layer")
    canvas.write(left + n_positions * size / 2, bottom + 34, "position")
    legend = (
        (60, BLUE, 0.85, "the patch"),
        (88, PURPLE, 0.85, "can change: compute"),
        (116, GREY, 0.3, "as in the corrupted run: reuse"),
        (144, GREY, 0.08, "the same in both runs: no patch"),
    )
    for y, colour, opacity, text in legend:
        canvas.box(left + n_positions * size + 26, y, size - 4, size - 4, colour=colour, fill_opacity=opacity)
        canvas.write(left + n_positions * size + 46, y, text, "start")
    return canvas.diagram()


# A circuit: positions from left to right, layers from bottom to top.
HEAD_WIDTH, HEAD_HEIGHT, HEAD_GAP, LAYER_HEIGHT, LEGEND_HEIGHT = 44, 22, 5, 34, 27
MARGIN, TOP, LANE = 26, 50, 62
MOST_IN_A_ROW = 8
EXAMPLE_TOKENS = {"S1": "John", "S1+1": "and", "IO": "Mary", "S2": "John", "END": "to"}
NO_HEADS = "No head is listed yet."
Row = list[tuple[str, Head]]
Rows = dict[tuple[str, int], Row]


def circuit_diagram(circuit: Mapping[str, object], title: str = "The IOI circuit", n_layers: int = 12) -> Diagram:
    """Draw a circuit or a part of one: each head at its layer and position, with an arrow from what it attends to.

    Up the residual stream of a position, lines lead from a class to the one that reads what it writes there.
    `circuit` maps classes (see `utils.circuit.HEAD_CLASSES`) to heads. Raises `CircuitError` for an invalid circuit.
    """
    read = {name: heads for name, heads in read_circuit(circuit, n_layers, n_heads=1000).items() if heads}
    rows = _rows(read)
    lanes = _lanes(rows)
    heights = [TOP + LAYER_HEIGHT * (n_layers - layer - 0.5) for layer in range(n_layers)]
    bottom = TOP + LAYER_HEIGHT * n_layers
    width = max(lanes["END"] + _lane_width(rows, "END") + 20, 700)
    text = " ".join(f"{name} ({', '.join(map(head_name, heads))}): {_role(name)}." for name, heads in read.items())
    canvas = Canvas(width, bottom + 88 + LEGEND_HEIGHT * max(len(read), 1), title, text or NO_HEADS)
    canvas.write(MARGIN, 20, title, "start", 15, bold=True)
    _draw_grid(canvas, lanes, heights, bottom)
    for name in read:
        _draw_reading(canvas, read, name, lanes, heights)
    for (_, layer), row in rows.items():
        _draw_arrows(canvas, row, lanes, heights[layer])
    for (position, layer), row in rows.items():
        _draw_heads(canvas, row, lanes[position] + (LANE + HEAD_WIDTH) / 2, heights[layer])
    _draw_legend(canvas, read, bottom + 92)
    return canvas.diagram()


def _rows(circuit: Circuit) -> Rows:
    """Group the heads, with their classes, by position and layer."""
    rows: Rows = defaultdict(list)
    for name, heads in circuit.items():
        for head in heads:
            rows[HEAD_CLASSES[name].acts_at, head[0]].append((name, head))
    return rows


def _lane_width(rows: Rows, position: str) -> float:
    """Return the width of a position's longest row of heads, with the space before it, in pixels."""
    longest = max((min(len(row), MOST_IN_A_ROW + 1) for (at, _), row in rows.items() if at == position), default=0)
    return LANE + longest * (HEAD_WIDTH + HEAD_GAP)


def _lanes(rows: Rows) -> dict[str, float]:
    """Return the x coordinate of each position's residual stream, from left to right."""
    widths = (max(_lane_width(rows, position), 92) for position in POSITIONS)
    return dict(zip(POSITIONS, accumulate(widths, initial=90.0), strict=False))


def _draw_grid(canvas: Canvas, lanes: Mapping[str, float], heights: Sequence[float], bottom: float) -> None:
    """Draw the layers' numbers, and the residual stream of each position with its name and an example of its token."""
    canvas.write(MARGIN, TOP - 6, "layer", "start", 12)
    note = "Level arrows: from the position attended to. Upright arrows: to the heads that read there."
    canvas.write(MARGIN, bottom + 62, note, "start", 12)
    for layer, y in enumerate(heights):
        canvas.write(MARGIN + 14, y, str(layer), size=12)
    for position, x in lanes.items():
        canvas.line(x, bottom, x, TOP, width=2, opacity=0.45)
        canvas.write(x, bottom + 16, position, bold=True)
        canvas.write(x, bottom + 34, EXAMPLE_TOKENS[position], size=12)
    canvas.arrow(lanes["END"], TOP, lanes["END"], TOP - 16, width=2)
    canvas.write(lanes["END"] + 12, TOP - 10, "answer", "start", 12)


def _draw_arrows(canvas: Canvas, row: Row, lanes: Mapping[str, float], y: float) -> None:
    """Draw an arrow for each class in a row, from the position it attends to; several arrows lie side by side."""
    names = list(dict.fromkeys(name for name, _ in row))
    for number, name in enumerate(names):
        head_class, arrow_y = HEAD_CLASSES[name], y + 6 * (number - (len(names) - 1) / 2)
        start, end = lanes[head_class.attends_to], lanes[head_class.acts_at] + LANE / 2 - HEAD_GAP
        canvas.circle(start, arrow_y, 2.5, COLOURS[name], fill_opacity=1)
        canvas.arrow(start, arrow_y, end, arrow_y, COLOURS[name], 2, 0.9)


def _draw_reading(
    canvas: Canvas, circuit: Circuit, name: str, lanes: Mapping[str, float], heights: Sequence[float]
) -> None:
    """Draw, along a residual stream, what a class writes until the class that reads it, and name the reader's input."""
    head_class = HEAD_CLASSES[name]
    writers = [layer for layer, _ in circuit[name]]
    readers = [layer for layer, _ in circuit.get(head_class.feeds, ()) if layer > min(writers)]
    if readers:
        number = [other for other in circuit if HEAD_CLASSES[other].feeds == head_class.feeds].index(name)
        x = lanes[head_class.acts_at] - 3 + 6 * number  # side by side where two classes have the same readers
        canvas.arrow(x, heights[min(writers)], x, heights[max(readers)], COLOURS[name], 2.5, 0.75)
        if number == 0:
            canvas.write(x - 6, heights[max(readers)] - 14, f"into {head_class.read_as}", "end", 11)


def _draw_heads(canvas: Canvas, row: Row, x: float, y: float) -> None:
    for name, head in row[:MOST_IN_A_ROW]:
        _draw_head(canvas, x, y, head_name(head), name)
        x += HEAD_WIDTH + HEAD_GAP
    if len(row) > MOST_IN_A_ROW:
        canvas.write(x, y, f"+{len(row) - MOST_IN_A_ROW}")


def _draw_head(canvas: Canvas, x: float, y: float, label: str, name: str) -> None:
    dash = DASHED if name == "backup name mover" else None
    canvas.box(x, y, HEAD_WIDTH, HEAD_HEIGHT, label, COLOURS[name], dash=dash)


def _draw_legend(canvas: Canvas, circuit: Circuit, top: float) -> None:
    if not circuit:
        canvas.write(MARGIN, top, NO_HEADS, "start")
    for number, name in enumerate(circuit):
        y = top + LEGEND_HEIGHT * number
        _draw_head(canvas, MARGIN + 22, y, "", name)
        canvas.write(MARGIN + 54, y, name, "start", bold=True)
        canvas.write(MARGIN + 209, y, _role(name), "start")


def _role(name: str) -> str:
    head_class = HEAD_CLASSES[name]
    return f"at {head_class.acts_at}, attend to {head_class.attends_to} and write: {head_class.moves}"
