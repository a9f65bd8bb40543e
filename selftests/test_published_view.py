"""The published maps, folded beside the learner's."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import plotly.colors
import pytest
import torch

import utils.published_view
from utils import WorkbookError, published_beside, published_patching
from utils.sweep_specs import PUBLISHED_SWEEPS

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=[name for name in PUBLISHED_SWEEPS if name != "head_by_pos_every"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def on_gpt2_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils.published_view, "model_name", lambda: "gpt2-small")


@pytest.fixture
def on_ioi_mini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils.published_view, "model_name", lambda: "ioi-mini")


def html_of(name: str) -> str:
    return published_beside(published_patching(name), name)._repr_html_()


def svg_of(name: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.search("<svg.*</svg>", html_of(name), re.DOTALL)[0])


def squares(name: str) -> list[tuple[ElementTree.Element, str]]:
    """The squares of the maps, in order, with their tooltips, without those of the scale."""
    found = [(square, square.find(f"{SVG}title").text) for square in svg_of(name).iter(f"{SVG}rect")]
    return [(square, hover) for square, hover in found if ":" in hover]


def test_it_is_folded_and_well_formed(on_ioi_mini, name):
    html = html_of(name)
    assert re.match("<details><summary>What gpt2-small shows (.*?)</summary>", html)
    assert html.endswith("</details>")
    opened = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(html)
    assert opened == []


def test_it_names_its_source_and_needs_no_network(on_ioi_mini, name):
    html = html_of(name)
    assert "TransformerLens repository, demos/Activation_Patching_in_TL_Demo.ipynb" in html
    assert not re.search(r"(src|href)=|url\(|<script|<style", html)


def test_every_value_has_a_square(on_ioi_mini, name):
    shown = [float(hover.split(": ")[1]) for _, hover in squares(name)]
    torch.testing.assert_close(torch.tensor(shown), published_patching(name).flatten(), atol=6e-4, rtol=0)


def test_the_tooltip_of_a_square_names_its_place(on_ioi_mini):
    heads = [hover for _, hover in squares("head_out_all_pos")]
    assert heads[9 * 12 + 9].startswith("9.9: 0.26")
    tokens = [hover for _, hover in squares("resid_pre")]
    assert tokens[3 * 15 + 10].startswith("layer 3, John 10: 1.0")


def test_squares_have_the_colours_of_the_heat_maps(on_ioi_mini, name):
    values = published_patching(name)
    shares = (values / values.abs().max()).flatten().tolist()
    expected = plotly.colors.sample_colorscale("RdBu", [(share + 1) / 2 for share in shares])
    assert [square.get("fill") for square, _ in squares(name)] == expected


def test_squares_of_a_map_lie_on_a_grid_and_do_not_overlap(on_ioi_mini, name):
    places = [(float(square.get("x")), float(square.get("y"))) for square, _ in squares(name)]
    assert len(set(places)) == len(places)
    first_map = published_patching(name).reshape(-1, *published_patching(name).shape[-2:])[0]
    rows, columns = first_map.shape
    assert len({y for _, y in places[: rows * columns]}) == rows
    assert len({x for x, _ in places[: rows * columns]}) == columns


def test_squares_stay_inside_the_view_box(on_ioi_mini, name):
    svg = svg_of(name)
    _, _, width, height = map(float, svg.get("viewBox").split())
    for square in svg.iter(f"{SVG}rect"):
        x, y, size = (float(square.get(key)) for key in ("x", "y", "width"))
        assert x >= 0 and y >= 0 and x + size <= width and y + size <= height


def test_each_map_has_the_name_of_its_component(on_ioi_mini, name):
    texts = [text.text for text in svg_of(name).iter(f"{SVG}text")]
    assert [text for text in texts if text in PUBLISHED_SWEEPS[name].components] == list(
        PUBLISHED_SWEEPS[name].components
    )


def test_the_description_names_the_strongest_effects(on_ioi_mini):
    assert "z: 10.7 -0.48, 5.5 0.34, 8.6 0.32" in svg_of("head_out_all_pos").get("aria-label")
    assert "mlp_out: layer 0 position 10 0.85" in svg_of("block_every").get("aria-label")


def test_on_gpt2_small_the_two_are_compared(on_gpt2_small, capsys):
    own = published_patching("resid_pre").clone().requires_grad_()
    with torch.no_grad():
        own[3, 4] -= 0.25
    published_beside(own, "resid_pre")
    assert capsys.readouterr().out == "Largest difference from the published map: 0.2500\n"


def test_on_gpt2_small_a_map_of_another_shape_is_reported(on_gpt2_small, capsys):
    published_beside(torch.zeros(12, 1), "resid_pre")
    assert capsys.readouterr().out == "This map has the shape (12, 1), the published one (12, 15).\n"


def test_on_another_model_nothing_is_compared(on_ioi_mini, capsys):
    published_beside(torch.zeros(12, 15), "resid_pre")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "words"), [("resid_post", "There is no published map"), ("head_by_pos_every", "a map for each head")]
)
def test_an_unknown_name_is_an_error(name, words):
    with pytest.raises(WorkbookError, match=words):
        published_beside(torch.zeros(1), name)
