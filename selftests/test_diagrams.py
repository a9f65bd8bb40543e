"""Diagrams: well-formed, described in words too, complete, and readable on light and on dark pages."""

import os
import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from selftests import browsing
from utils import block_diagram, circuit_diagram, forward_pass_diagram, patched_pass_diagram, published_circuit
from utils.canvas import DASHED, TEXT, Diagram
from utils.circuit import HEAD_CLASSES, POSITIONS, CircuitError
from utils.diagrams import COLOURS, MOST_IN_A_ROW

SVG = "{http://www.w3.org/2000/svg}"
SIMPLE = {"duplicate token": [(3, 0)], "s-inhibition": [(7, 3), (8, 10)], "name mover": [(9, 9)]}
EVERY_HEAD = {name: [(layer, head) for layer in range(12) for head in range(12)] for name in HEAD_CLASSES}
DIAGRAMS = {
    "forward pass": forward_pass_diagram(),
    "patched pass": patched_pass_diagram(),
    "block": block_diagram(),
    "simple circuit": circuit_diagram(SIMPLE, "A simple sketch"),
    "full circuit": circuit_diagram(published_circuit()),
    "one class": circuit_diagram({"induction": [(5, 5)]}),
    "empty circuit": circuit_diagram({name: [] for name in HEAD_CLASSES}),
    "every head": circuit_diagram(EVERY_HEAD),
}
PAGES = {"light": ("rgb(255, 255, 255)", "rgb(0, 0, 0)"), "dark": ("rgb(17, 17, 17)", "rgb(224, 224, 224)")}
needs_browser = pytest.mark.skipif(
    not (browsing.CHROMIUM and browsing.CHROMEDRIVER), reason="DIAGRAMS NOT TESTED IN A BROWSER: no Chromium"
)


def parse(diagram: Diagram) -> ElementTree.Element:
    return ElementTree.fromstring(diagram.svg)


def texts(diagram: Diagram) -> list[str]:
    return [text.text for text in parse(diagram).iter(f"{SVG}text")]


def head_boxes(diagram: Diagram) -> dict[str, list[tuple[float, float, float, float]]]:
    """The boxes that carry a head's name: left, top, right and bottom."""
    boxes: dict[str, list] = {}
    root = list(parse(diagram))
    for shape, label in pairwise(root):
        if shape.tag == f"{SVG}rect" and label.tag == f"{SVG}text" and re.fullmatch(r"\d+\.\d+", label.text):
            x, y, width, height = (float(shape.get(name)) for name in ("x", "y", "width", "height"))
            boxes.setdefault(label.text, []).append((x, y, x + width, y + height))
    return boxes


def position_lines(diagram: Diagram) -> dict[str, float]:
    """The x coordinate of each position's name."""
    return {text.text: float(text.get("x")) for text in parse(diagram).iter(f"{SVG}text") if text.text in POSITIONS}


@pytest.mark.parametrize("diagram", DIAGRAMS.values(), ids=DIAGRAMS)
class TestEveryDiagram:
    def test_is_svg_with_a_description_for_screen_readers(self, diagram: Diagram):
        root = parse(diagram)
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        title, description = root.find(f"{SVG}title").text, root.find(f"{SVG}desc").text
        assert root.get("aria-label") == f"{title}. {description}" == repr(diagram)
        assert len(description) > 20

    def test_is_displayed_inline_without_external_resources(self, diagram: Diagram):
        assert diagram.svg in diagram._repr_html_()
        assert re.findall(r"https?://[^\"]+", diagram.svg) == ["http://www.w3.org/2000/svg"]
        assert not re.search(r"href|url\(|<style|<script|<image| id=", diagram.svg)

    def test_scales_with_the_page(self, diagram: Diagram):
        root = parse(diagram)
        left, top, width, height = map(float, root.get("viewBox").split())
        assert (left, top) == (0, 0) and height > 100
        assert float(root.get("width")) == width
        assert root.get("height") is None
        assert "max-width: 100%" in root.get("style") and "height: auto" in root.get("style")

    def test_writes_in_the_colour_of_the_page(self, diagram: Diagram):
        assert {text.get("fill") for text in parse(diagram).iter(f"{SVG}text")} == {TEXT}

    def test_has_colours_with_enough_contrast_on_white_and_on_dark(self, diagram: Diagram):
        """The W3C's guidelines ask for a contrast of 3 to 1 for graphics."""
        found = {part.get(name) for part in parse(diagram).iter() for name in ("fill", "stroke")} - {None, TEXT}
        for colour in found:
            for page in ("#ffffff", "#111111"):
                assert contrast(colour, page) >= 2.9, (colour, page)

    def test_stays_inside_its_view_box(self, diagram: Diagram):
        root = parse(diagram)
        _, _, width, height = map(float, root.get("viewBox").split())
        names = {
            "x": width,
            "x1": width,
            "x2": width,
            "cx": width,
            "y": height,
            "y1": height,
            "y2": height,
            "cy": height,
        }
        for part in root.iter():
            for name, end in names.items():
                assert part.get(name) is None or 0 <= float(part.get(name)) <= end
        for text in root.iter(f"{SVG}text"):
            # A letter is at most 0.6 of its size wide, on average.
            length = len(text.text) * float(text.get("font-size")) * 0.6
            if text.get("text-anchor") == "start":
                assert float(text.get("x")) + length <= width, text.text


def contrast(one: str, other: str) -> float:
    """The W3C's contrast of two colours, from 1 to 21."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def circles(diagram: Diagram) -> list[tuple[float, float, str, str | None, float]]:
    return [
        (
            float(circle.get("cx")),
            float(circle.get("cy")),
            circle.get("stroke"),
            circle.get("stroke-dasharray"),
            float(circle.get("fill-opacity")),
        )
        for circle in parse(diagram).iter(f"{SVG}circle")
    ]


def test_all_nodes_of_a_plain_forward_pass_look_the_same():
    assert len(circles(DIAGRAMS["forward pass"])) == 12
    assert len({node[2:] for node in circles(DIAGRAMS["forward pass"])}) == 1


def test_nodes_downstream_of_a_patch_are_neither_clean_nor_corrupted():
    nodes = circles(DIAGRAMS["patched pass"])[12:24]  # after the 12 of the clean run
    (patched,) = [node for node in nodes if node[4] > 0.5]
    mixed = {node[:2] for node in nodes if node[3] == DASHED}
    downstream = {node[:2] for node in nodes if node[0] >= patched[0] and node[1] < patched[1]}
    assert mixed == downstream
    assert len(mixed) == 4
    assert all(node[4] == 0 for node in nodes if node[:2] not in mixed and node != patched)
    for word in ("clean", "corrupted", "patch", "neither: downstream of the patch"):
        assert word in texts(DIAGRAMS["patched pass"])


def test_the_block_names_every_component_that_can_be_patched():
    written = " ".join(texts(DIAGRAMS["block"]))
    for name in ("resid_pre", "attn_out", "mlp_out", "z", "q, k, v, pattern", "at one position", "at all positions"):
        assert name in written


@pytest.mark.parametrize("circuit", [SIMPLE, published_circuit(), {"induction": [(5, 5)]}])
def test_every_head_is_drawn_once_at_its_layer_and_right_of_its_position(circuit):
    diagram = circuit_diagram(circuit)
    boxes, lines = head_boxes(diagram), position_lines(diagram)
    expected = {f"{layer}.{head}": name for name, heads in circuit.items() for layer, head in heads}
    assert {name: len(places) for name, places in boxes.items()} == dict.fromkeys(expected, 1)
    layers = {text.text: float(text.get("y")) for text in parse(diagram).iter(f"{SVG}text") if text.text.isdigit()}
    order = list(lines)
    for head, head_class in expected.items():
        ((left, top, right, bottom),) = boxes[head]
        assert top < layers[head.split(".")[0]] < bottom
        acts_at = HEAD_CLASSES[head_class].acts_at
        assert left > lines[acts_at]
        assert acts_at == "END" or right < lines[order[order.index(acts_at) + 1]]


def test_positions_run_from_left_to_right_and_layers_upwards():
    diagram = DIAGRAMS["full circuit"]
    assert list(position_lines(diagram)) == list(POSITIONS)
    assert sorted(position_lines(diagram).values()) == list(position_lines(diagram).values())
    heights = [float(text.get("y")) for text in parse(diagram).iter(f"{SVG}text") if text.text.isdigit()]
    assert len(heights) == 12
    assert sorted(heights, reverse=True) == heights


def test_heads_do_not_overlap():
    boxes = [place for places in head_boxes(DIAGRAMS["full circuit"]).values() for place in places]
    assert len(boxes) == 26
    for one, other in combinations(boxes, 2):
        apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
        assert apart, (one, other)


@pytest.mark.parametrize("name", ["full circuit", "one arrow", "two arrows"])
def test_no_level_arrow_crosses_the_name_of_an_input(name):
    negative = {"negative name mover": [(9, 1)]} if name == "two arrows" else {}
    small = circuit_diagram({"s-inhibition": [(8, 6), (9, 2)], "name mover": [(9, 9)]} | negative)
    root = parse(DIAGRAMS["full circuit"] if name == "full circuit" else small)
    level = [float(line.get("y1")) for line in root.iter(f"{SVG}line") if line.get("y1") == line.get("y2")]
    names = [text for text in root.iter(f"{SVG}text") if text.text.startswith("into ")]
    assert names
    for text in names:
        bottom = float(text.get("y")) + 2
        assert not [y for y in level if bottom - float(text.get("font-size")) < y < bottom]


@pytest.mark.parametrize("name", HEAD_CLASSES)
def test_arrows_lead_from_the_position_attended_to_to_the_position_of_the_head(name):
    diagram = circuit_diagram({name: [(5, 5), (5, 6), (8, 1)]})
    lines = position_lines(diagram)
    arrows = [line for line in parse(diagram).iter(f"{SVG}line") if line.get("stroke") == COLOURS[name]]
    assert len(arrows) == 2  # one for each layer
    for arrow in arrows:
        assert float(arrow.get("x1")) == lines[HEAD_CLASSES[name].attends_to]
        assert lines[HEAD_CLASSES[name].acts_at] < float(arrow.get("x2")) < head_boxes(diagram)["5.5"][0][0]


@pytest.mark.parametrize("name", HEAD_CLASSES)
def test_the_legend_and_the_description_say_what_a_class_does(name):
    diagram = circuit_diagram({name: [(5, 5)]})
    head_class = HEAD_CLASSES[name]
    assert name in texts(diagram)
    role = f"at {head_class.acts_at}, attend to {head_class.attends_to} and write: {head_class.moves}"
    assert role in texts(diagram)
    assert f"{name} (5.5): {role}" in repr(diagram)


def test_backup_name_movers_have_a_dashed_outline():
    for name, dash in (("backup name mover", DASHED), ("name mover", None)):
        shapes = list(parse(circuit_diagram({name: [(9, 0)]})).iter(f"{SVG}rect"))
        assert {shape.get("stroke-dasharray") for shape in shapes} == {dash}


def test_a_partial_and_an_empty_circuit_are_drawn():
    assert "No head is listed yet." in texts(DIAGRAMS["empty circuit"])
    assert set(POSITIONS) <= set(texts(DIAGRAMS["empty circuit"]))
    assert "s-inhibition" not in texts(DIAGRAMS["one class"])


def test_a_row_with_too_many_heads_shows_how_many_are_left_out():
    diagram = circuit_diagram({"induction": [(5, head) for head in range(12)]})
    assert len(head_boxes(diagram)) == MOST_IN_A_ROW
    assert f"+{12 - MOST_IN_A_ROW}" in texts(diagram)


def test_a_head_in_two_classes_is_drawn_in_both():
    diagram = circuit_diagram({"name mover": [(10, 10)], "induction": [(10, 10)]})
    assert len(head_boxes(diagram)["10.10"]) == 2


def test_a_title_is_escaped():
    diagram = circuit_diagram({}, "Mine & <yours>")
    assert texts(diagram)[0] == "Mine & <yours>"


def test_an_invalid_circuit_is_an_error():
    with pytest.raises(CircuitError, match="There is no class"):
        circuit_diagram({"movers": [(9, 9)]})


@needs_browser
@pytest.mark.parametrize("page", PAGES)
def test_the_browser_draws_them_on_light_and_dark_pages(browser, page, tmp_path):
    background, colour = PAGES[page]
    body = "".join(diagram._repr_html_() for diagram in DIAGRAMS.values())
    file = tmp_path / "page.html"
    file.write_text(f"<body style='background: {background}; color: {colour}'>{body}</body>", encoding="utf-8")
    browser.get(file.as_uri())
    widths = "return [...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect().width)"
    wide = browser.execute_script(widths)
    assert len(wide) == len(DIAGRAMS)
    assert min(wide) > 300
    fills = browser.execute_script("return [...document.querySelectorAll('text')].map(t => getComputedStyle(t).fill)")
    assert set(fills) == {colour}
    inside = "return [...document.querySelectorAll('text')].filter(t => { const [b, s] = [t.getBoundingClientRect(), "
    inside += (
        "t.ownerSVGElement.getBoundingClientRect()]; return b.left < s.left || b.right > s.right || b.top < s.top "
    )
    inside += "|| b.bottom > s.bottom }).map(t => t.textContent)"
    assert browser.execute_script(inside) == []
    browser.execute_script("document.body.style.width = '400px'")
    assert max(browser.execute_script(widths)) <= 400
    if os.environ.get("SCREENSHOTS"):
        browser.execute_script("document.body.style.width = ''")
        browsing.keep_picture(browser, f"diagrams_{page}")
    assert browsing.severe_messages(browser) == []
