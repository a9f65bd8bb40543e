"""The published maps, folded beside the learner's."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import plotly.colors
import pytest
import torch

import utils.published_view
from utils import WorkbookError, published_beside, published_patching
from utils.ioi import position_labels
from utils.published import published_results
from utils.sweep_specs import PUBLISHED_SWEEPS


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


def tables_of(name: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(table) for table in re.findall("<table.*?</table>", html_of(name))]


def cells(name: str) -> list[ElementTree.Element]:
    return [cell for table in tables_of(name) for cell in table.iter("td")]


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


def test_every_value_has_a_cell(on_ioi_mini, name):
    shown = torch.tensor([float(cell.text) for cell in cells(name)])
    torch.testing.assert_close(shown, published_patching(name).flatten(), atol=6e-4, rtol=0)


def test_the_tooltip_of_a_cell_names_its_place_and_value(on_ioi_mini):
    assert cells("head_out_all_pos")[9 * 12 + 9].get("title").startswith("9.9: 0.26")
    assert cells("resid_pre")[3 * 15 + 10].get("title").startswith("layer 3, John 10: 1.0")


def test_cells_have_the_colours_of_the_heat_maps(on_ioi_mini, name):
    values = published_patching(name)
    shares = (values / values.abs().max()).flatten().tolist()
    expected = plotly.colors.sample_colorscale("RdBu", [(share + 1) / 2 for share in shares])
    assert [cell.get("style").split("background-color: ")[1] for cell in cells(name)] == expected


def test_rows_and_columns_are_those_of_the_map_and_have_their_labels(on_ioi_mini, name):
    maps = published_patching(name)
    by_position = PUBLISHED_SWEEPS[name].by_position
    columns = position_labels(published_results()["str_tokens_prompt_0"]) if by_position else list(map(str, range(12)))
    for table in tables_of(name):
        *layers, labels = table.iter("tr")
        assert [row.find("th").text for row in layers] == list(map(str, range(12)))
        assert {len(row.findall("td")) for row in layers} == {maps.shape[-1]}
        assert [label.text for label in labels][1:] == columns


def test_each_map_has_the_name_of_its_component_and_axes(on_ioi_mini, name):
    spec = PUBLISHED_SWEEPS[name]
    captions = ["".join(table.find("caption").itertext()) for table in tables_of(name)]
    axes = spec.axes.removeprefix("component ")
    assert captions == [f"{component} [{axes}]" for component in spec.components]


def test_the_scale_reaches_from_minus_to_plus_the_largest_value(on_ioi_mini, name):
    largest = published_patching(name).abs().max()
    assert re.search(rf"<p>-{largest:.2f} <span.*></span> {largest:.2f}</p>", html_of(name))


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
