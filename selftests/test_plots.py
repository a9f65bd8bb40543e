"""Heat maps and attention patterns: numbers, names and colours are right, and no network is needed."""

import re
import warnings

import circuitsvis.utils.render
import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from utils import attention_view, bar_chart, heat_map, imshow, topk_of_Nd_tensor

LETTERS = list("abcdefghijklmno")
# Every shape that the notebooks draw, for gpt2-small on the 8 prompts.
DRAWN_SHAPES = [(12, 15), (12, 12), (2, 25), (2, 3, 15), (3, 12, 15), (3, 15, 15), (5, 12, 12), (5, 12, 15)]
PAGE = 737
"""What a window of 800 pixels has room for beside its scroll bar, in the preview; JupyterLab has more at 1,280."""


def random_tensor(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def scale(figure: go.Figure) -> tuple[float, float]:
    return figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax


def titles_over_traces(figure: go.Figure) -> list[str]:
    """For each heat map of a figure, the title that stands over its own part of the figure."""
    titles = []
    for trace in figure.data:
        x_axis = figure.layout[trace.xaxis.replace("x", "xaxis")]
        y_axis = figure.layout[trace.yaxis.replace("y", "yaxis")]
        middle, top = sum(x_axis.domain) / 2, y_axis.domain[1]
        titles.append(min(figure.layout.annotations, key=lambda note: abs(note.x - middle) + abs(note.y - top)).text)
    return titles


def test_heat_map_shows_the_values():
    values = random_tensor(12, 15)
    np.testing.assert_array_equal(heat_map(values).data[0].z, values.numpy())


def test_colours_are_centred_at_0():
    low, high = scale(heat_map(torch.tensor([[-3.0, 0.0], [1.0, 2.0]])))
    assert (low, high) == (-3.0, 3.0)


def test_zmax_sets_the_scale():
    assert scale(heat_map(random_tensor(3, 4), zmax=0.5)) == (-0.5, 0.5)


def test_white_is_0_blue_positive_and_red_negative():
    colours = [colour for _, colour in heat_map(random_tensor(3, 4)).layout.coloraxis.colorscale]
    (red, _, blue), middle, (red_high, _, blue_high) = (
        [int(part) for part in re.findall(r"\d+", colours[index])] for index in (0, len(colours) // 2, -1)
    )
    assert red > 2 * blue
    assert min(middle) > 240
    assert blue_high > 2 * red_high


@pytest.mark.parametrize("facets", [2, 3, 5])
def test_each_facet_has_its_name_above_it(facets):
    values = torch.arange(facets)[:, None, None].expand(facets, 2, 4).float()
    names = [f"facet {value}" for value in range(facets)]
    figure = heat_map(values, facet_labels=names)
    shown = {int(trace.z[0][0]): title for trace, title in zip(figure.data, titles_over_traces(figure), strict=True)}
    assert shown == dict(enumerate(names))


def test_facets_share_one_scale():
    figure = heat_map(torch.tensor([1.0, -4.0])[:, None, None].expand(2, 3, 3))
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert scale(figure) == (-4.0, 4.0)


@pytest.mark.parametrize("label", [None, "<|endoftext|> 0"])
@pytest.mark.parametrize("shape", DRAWN_SHAPES)
def test_default_size_fits_a_page(shape, label):
    columns, rows = (label and [label] * size for size in shape[:-3:-1])
    layout = heat_map(random_tensor(*shape), x=columns, y=rows).layout
    assert 300 <= layout.width <= PAGE
    assert 150 <= layout.height <= 1000


def test_no_line_runs_through_the_squares_of_row_and_column_0():
    layout = heat_map(random_tensor(2, 3, 4)).layout
    axes = [layout[name] for name in layout if re.fullmatch(r"[xy]axis\d*", name)]
    assert [axis.zeroline for axis in axes] == [False] * 4


def test_more_columns_and_rows_make_a_larger_figure():
    small, wide, tall = (heat_map(random_tensor(*shape)).layout for shape in ((6, 6), (6, 15), (15, 6)))
    assert wide.width > small.width
    assert tall.height > small.height


def test_width_and_height_set_the_size():
    layout = heat_map(random_tensor(12, 15), width=432, height=321).layout
    assert (layout.width, layout.height) == (432, 321)


def test_axes_carry_names_and_labels():
    figure = heat_map(random_tensor(3, 15), "A title", LETTERS, ["r", "s", "t"], "Position", "Layer")
    assert figure.layout.title.text == "A title"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("Position", "Layer")
    assert list(figure.data[0].x) == LETTERS
    assert list(figure.data[0].y) == ["r", "s", "t"]


def test_the_horizontal_axis_of_every_facet_has_its_name():
    layout = heat_map(random_tensor(5, 12, 12), xaxis="head", yaxis="layer").layout
    names = [layout[name].title.text for name in layout if re.fullmatch(r"xaxis\d*", name)]
    assert len(names) >= 5
    assert set(names) == {"head"}


def test_the_tooltip_of_a_map_of_heads_names_the_head():
    template = heat_map(random_tensor(3, 4), xaxis="head", yaxis="layer").data[0].hovertemplate
    assert template.startswith("head %{y}.%{x}<br>value")


def test_the_tooltip_names_position_layer_and_value():
    template = heat_map(random_tensor(3, 4), xaxis="Position", yaxis="Layer").data[0].hovertemplate
    assert "Position: %{x}" in template
    assert "Layer: %{y}" in template
    assert "value: %{z}" in template


def test_rows_run_from_top_to_bottom():
    assert heat_map(random_tensor(3, 4)).layout.yaxis.autorange == "reversed"


def test_the_scale_ignores_nan():
    assert scale(heat_map(torch.tensor([[float("nan"), -2.0], [1.0, 0.0]]))) == (-2.0, 2.0)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_tensor_of_zeros_or_nan_gets_a_scale_and_no_warning(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = scale(heat_map(torch.full((3, 4), value)))
    assert low == -high < 0


def test_a_tensor_that_requires_gradients_can_be_drawn():
    values = random_tensor(2, 2)
    np.testing.assert_array_equal(heat_map(values.clone().requires_grad_()).data[0].z, values.numpy())


def test_imshow_shows_the_figure_and_returns_nothing(monkeypatch):
    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure))
    assert imshow(random_tensor(2, 2), title="A title") is None
    assert [figure.layout.title.text for figure in shown] == ["A title"]


@pytest.mark.parametrize("shape", [(17,), (12, 12), (3, 4, 5)])
def test_topk_equals_a_sort(shape):
    tensor = random_tensor(*shape)
    by_sorting = sorted(np.ndindex(*shape), key=lambda index: -tensor[index].item())[:7]
    assert topk_of_Nd_tensor(tensor, 7) == by_sorting


@pytest.fixture
def attention_html(monkeypatch) -> str:
    """What JupyterLab shows of a view of two heads; the test fails if displaying it looks for a network."""
    asked = []
    monkeypatch.setattr(circuitsvis.utils.render, "internet_on", lambda: asked.append("the network") or True)
    pattern = random_tensor(2, 3, 3).softmax(dim=-1)
    html = attention_view(pattern, ["When", " Zoe", " and"], ["9.9", "10.0"])._repr_html_()
    assert not asked
    return html


def test_attention_view_contains_its_javascript(attention_html):
    assert not re.search(r"""(import|src\s*=|from)\s*\(?\s*["'`]https?://""", attention_html)
    assert len(attention_html) > 500_000


def test_attention_view_names_tokens_and_heads(attention_html):
    for text in ("When", " Zoe", "9.9", "10.0"):
        assert f'"{text}"' in attention_html


def test_a_bar_chart_has_a_bar_of_each_series_for_each_label():
    series = {"one": [1.0, torch.tensor(0.5), -0.25], "other": torch.tensor([0.0, 2.0, 3.0]).unbind()}
    figure = bar_chart(series, ["a", "b", "c"], "Title", yaxis="share")
    drawn = {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data}
    assert drawn == {"one": {"a": 1.0, "b": 0.5, "c": -0.25}, "other": {"a": 0.0, "b": 2.0, "c": 3.0}}
    assert figure.layout.barmode == "group"
    assert (figure.layout.title.text, figure.layout.yaxis.title.text) == ("Title", "share")
    assert len({trace.marker.color for trace in figure.data}) == 2
    assert figure.layout.width <= PAGE
