"""The pictures that students draw: how a figure's data is read, and the checks of `my_map` and `early_heads_figure`."""

import functools
import re

import plotly.express as px
import plotly.graph_objects as go
import pytest
import torch
from plotly.basedatatypes import BaseFigure

import tests
import utils
from selftests.answer_bank import notebook_variables
from tests.checks.checking import CheckFailed, NotImplementedYet
from tests.checks.figures import mean_attention_hint, nothing_shown, read_heat_maps
from utils import models
from utils.sweep_specs import SWEEPS

MATRIX = torch.arange(6.0).reshape(2, 3) + 0.125
LABELS = ["a", "b", "c"]

FIGURES = {
    "torch": go.Figure(go.Heatmap(z=MATRIX)),
    "numpy": go.Figure(go.Heatmap(z=MATRIX.double().numpy())),
    "lists": go.Figure(go.Heatmap(z=MATRIX.tolist())),
    "list of tensors": go.Figure(go.Heatmap(z=list(MATRIX))),
    "transposed back": go.Figure(go.Heatmap(z=MATRIX.T, transpose=True)),
    "transposed back, with labels": go.Figure(go.Heatmap(z=MATRIX.flip(1).T, transpose=True, x=LABELS[::-1])),
    "columns in another order": go.Figure(go.Heatmap(z=MATRIX[:, [2, 0, 1]], x=["c", "a", "b"])),
    "labels of another axis": go.Figure(go.Heatmap(z=MATRIX, x=["3", "2", "1"], y=["b", "a"])),
    "reversed axis": go.Figure(go.Heatmap(z=MATRIX)).update_yaxes(autorange="reversed"),
    "px.imshow": px.imshow(MATRIX, x=LABELS, y=["x", "y"], text_auto=True),
    "utils.heat_map": utils.heat_map(MATRIX),
    "encoded": go.Figure(px.imshow(MATRIX.numpy()).to_dict()),
    "with points": go.Figure([go.Scatter(x=[1], y=[1]), go.Heatmap(z=MATRIX)]),
}


def read(figure: object) -> list[torch.Tensor]:
    return read_heat_maps(figure, "the figure", "return", LABELS)


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_matrix_is_read_however_it_is_drawn(figure):
    (heat_map,) = read(figure)
    assert torch.equal(heat_map, MATRIX.double())


@pytest.mark.parametrize("facets", [2, 4, 7])
def test_heat_maps_are_read_in_order(facets):
    stack = torch.rand(facets, 3, 5)
    for figure in (utils.heat_map(stack), px.imshow(stack.numpy(), facet_col=0, facet_col_wrap=2)):
        assert torch.equal(torch.stack(read(figure)), stack.double())


@pytest.mark.parametrize("z", [None, [1, 2, 3], [["word"]], [[1, 2], [1]], [[]]])
def test_a_heat_map_without_a_matrix_is_named(z):
    with pytest.raises(CheckFailed, match="heat map 2 has another z"):
        read(go.Figure([go.Heatmap(z=MATRIX), go.Heatmap(z=z)]))


class Unreadable(go.Figure):
    """A figure that raises when its data is read."""

    @property
    def data(self):
        raise ZeroDivisionError


def test_a_figure_that_raises_is_refused():
    with pytest.raises(CheckFailed, match="a figure whose data cannot be read"):
        read(Unreadable())


def test_nothing_is_shown_and_figures_can_be_shown_again():
    show = BaseFigure.show
    with nothing_shown():
        assert go.Figure().show(renderer="no such renderer") is None
    assert BaseFigure.show is show


def test_a_head_drawn_right_gets_no_hint_of_a_mistake():
    patterns = torch.rand(4, 5, 5).softmax(dim=-1)
    other = torch.rand(5, 5).double()
    assert mean_attention_hint(other, patterns) == mean_attention_hint(other[1:], patterns) == ""


# The map of one's own choice


@pytest.fixture(scope="module")
def notebook() -> dict[str, object]:
    return notebook_variables()


@functools.cache
def result(name: str) -> torch.Tensor:
    model = utils.model_in_use()
    data = utils.load_ioi(model)
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    metric = utils.make_ioi_metric(model, data)
    return getattr(utils.sweeps, name)(model, data.corrupted_tokens, clean_cache, metric, progress=False)


RESID_PRE, BLOCKS = "get_act_patch_resid_pre", "get_act_patch_block_every"
HEADS, Z_BY_POS = "get_act_patch_attn_head_out_all_pos", "get_act_patch_attn_head_out_by_pos"
STRONGEST = [(9, 9), (5, 5), (8, 6), (3, 0)]


def z_of_strongest(by_position: torch.Tensor) -> torch.Tensor:
    return torch.stack([by_position[layer, :, head] for layer, head in STRONGEST])


# What is drawn: the sweep, and the figure of its result.
RIGHT = {
    "the whole result": (RESID_PRE, utils.heat_map),
    "transposed": (RESID_PRE, lambda maps: utils.heat_map(maps.T)),
    "some rows": (RESID_PRE, lambda maps: utils.heat_map(maps[[8, 5, 7]])),
    "some columns": (RESID_PRE, lambda maps: utils.heat_map(maps[:, 10:])),
    "some rows and columns": (RESID_PRE, lambda maps: utils.heat_map(maps[6:10, [14, 10]])),
    "one row": (RESID_PRE, lambda maps: utils.heat_map(maps[[8]])),
    "one column": (RESID_PRE, lambda maps: utils.heat_map(maps[:, [14]])),
    "facets": (BLOCKS, utils.heat_map),
    "one component": (BLOCKS, lambda maps: px.imshow(maps[1].double().numpy())),
    "heads upside down": (HEADS, lambda maps: go.Figure(go.Heatmap(z=maps.flip(0).tolist()))),
    "four heads by position": (Z_BY_POS, lambda maps: utils.heat_map(z_of_strongest(maps))),
    "one layer by position": (Z_BY_POS, lambda maps: utils.heat_map(maps[9])),
    "all heads by layer and position": (Z_BY_POS, lambda maps: utils.heat_map(maps.movedim(1, 2).flatten(0, 1))),
    "one head": (Z_BY_POS, lambda maps: utils.heat_map(maps[:, :, 9])),
}


@pytest.mark.parametrize(("sweep", "draw"), RIGHT.values(), ids=RIGHT)
def test_right_map_passes(sweep, draw, capsys):
    figure = draw(result(sweep))
    capsys.readouterr()
    tests.test_my_map(figure, sweep)
    written = capsys.readouterr()
    assert written.out.endswith("my_map: all checks passed.\n")
    assert written.err == ""


OF_ANOTHER_SWEEP = "name in my_sweep the sweep that is drawn"

# What is wrong: the sweep named, the figure drawn, words of the message.
WRONG = {
    "no name": ("", lambda: utils.heat_map(result(RESID_PRE)), "of layers: get_act_patch_resid_pre, "),
    "a slip in the name": ("patching.get_act_patch_resid_pre", None, 'did you mean my_sweep = "get_act_patch_resid_'),
    "the result in place of the name": (torch.zeros(12, 15), None, "a tensor of shape [12, 15]"),
    "the function in place of the name": (utils.sweeps.get_act_patch_resid_pre, None, "in quotation marks"),
    "imshow": (RESID_PRE, lambda: None, "utils.imshow and .show() show a figure and return None"),
    "a tensor": (RESID_PRE, lambda: result(RESID_PRE), "assign what utils.heat_map returns"),
    "no heat map": (RESID_PRE, lambda: px.line(result(RESID_PRE)[:, 10].numpy()), "without heat maps, with scatter"),
    "before S2": (RESID_PRE, lambda: utils.heat_map(result(RESID_PRE)[:, :10]), "heat map 1 is 0.0000 everywhere"),
    "a single number": (RESID_PRE, lambda: utils.heat_map(result(RESID_PRE)[:1, -1:]), "everywhere"),
    "no number": (
        RESID_PRE,
        lambda: utils.heat_map(result(RESID_PRE).masked_fill(result(RESID_PRE) > 0.9, torch.nan)),
        "heat map 1 has entries without a number",
    ),
    "another sweep": (HEADS, lambda: utils.heat_map(result(RESID_PRE)), OF_ANOTHER_SWEEP),
    "another component": (RESID_PRE, lambda: utils.heat_map(result(BLOCKS)[1]), OF_ANOTHER_SWEEP),
    "one of the facets": (
        RESID_PRE,
        lambda: utils.heat_map(result(BLOCKS)),
        "heat map 2, of shape [12, 15], has other numbers",
    ),
    "one row is another's": (
        RESID_PRE,
        lambda: utils.heat_map(torch.cat([result(RESID_PRE)[:5], result(BLOCKS)[2, 9:]])),
        OF_ANOTHER_SWEEP,
    ),
    "scaled": (RESID_PRE, lambda: utils.heat_map(100 * result(RESID_PRE)), "neither scaled nor averaged"),
    "averaged": (Z_BY_POS, lambda: utils.heat_map(result(Z_BY_POS).mean(dim=2)), "neither scaled nor averaged"),
    "made up": (RESID_PRE, lambda: utils.heat_map(torch.rand(12, 15)), OF_ANOTHER_SWEEP),
    "published": (
        RESID_PRE,
        lambda: utils.heat_map(utils.published_patching("resid_pre")),
        "published numbers of gpt2",
    ),
}


@pytest.mark.parametrize(("sweep", "draw", "words"), WRONG.values(), ids=WRONG)
def test_wrong_map_fails_with_a_message_that_names_the_problem(sweep, draw, words, capsys):
    figure = draw() if draw else utils.heat_map(result(RESID_PRE))
    with pytest.raises(CheckFailed) as caught:
        tests.test_my_map(figure, sweep)
    assert not isinstance(caught.value, NotImplementedYet)
    message = str(caught.value)
    assert words in message
    assert len(message.splitlines()) <= 8
    assert max(map(len, message.splitlines())) < 400
    assert "passed" not in capsys.readouterr().out


def test_the_message_on_an_unknown_sweep_lists_all():
    with pytest.raises(CheckFailed) as caught:
        tests.test_my_map(None, "resid_pre")
    assert set(SWEEPS) <= set(re.findall(r"\w+", str(caught.value)))


def test_the_message_on_the_numbers_of_another_sweep():
    with pytest.raises(CheckFailed) as caught:
        tests.test_my_map(utils.heat_map(result(RESID_PRE)), HEADS)
    assert str(caught.value) == (
        "my_map draws what utils.sweeps.get_act_patch_attn_head_out_all_pos gives on the 8 IOI prompts\n"
        "  expected: numbers of its result, [layer head], along one of its axes in each row or in each column\n"
        "  actual:   heat map 1, of shape [12, 15], has other numbers\n"
        "  hint:     name in my_sweep the sweep that is drawn, and draw its numbers as they are, neither scaled nor "
        "averaged"
    )


def test_a_map_not_begun_is_not_implemented_yet():
    with pytest.raises(NotImplementedYet, match="my_map is not implemented yet"):
        tests.test_my_map(None, "")


# The two early heads


def patterns(cache: object, *heads: tuple[int, int]) -> torch.Tensor:
    return torch.stack([cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads])


@pytest.fixture(scope="module")
def caches(notebook):
    _, corrupted_cache = notebook["model"].run_with_cache(notebook["corrupted_tokens"])
    return notebook["clean_cache"], corrupted_cache


EARLY = (3, 0), (5, 5)
EARLY_RIGHT = {
    "heat_map": lambda clean, corrupted: utils.heat_map(patterns(clean, *EARLY)),
    "in another order, with others": lambda clean, corrupted: utils.heat_map(patterns(clean, (5, 5), (6, 9), (3, 0))),
    "of the corrupted run, whose prompts are the same": lambda clean, corrupted: utils.heat_map(
        patterns(corrupted, *EARLY)
    ),
    "float64": lambda clean, corrupted: px.imshow(patterns(clean, *EARLY).double().numpy(), facet_col=0),
}
EARLY_WRONG = {
    "imshow": (lambda clean, corrupted: None, "assign what utils.heat_map returns: utils.imshow and .show() show"),
    "one missing": (
        lambda clean, corrupted: utils.heat_map(patterns(clean, (3, 0))),
        "no heat map of 5.5; heat map 1 is of 3.0\n",
    ),
    "another head": (
        lambda clean, corrupted: utils.heat_map(patterns(clean, (3, 0), (5, 6))),
        "no heat map of 5.5; heat map 1 is of 3.0; heat map 2 is of 5.6\n",
    ),
    "prompt 0": (
        lambda clean, corrupted: utils.heat_map(
            torch.stack([clean["pattern", layer][0, head] for layer, head in EARLY])
        ),
        "no heat map of 3.0 and 5.5\n  hint:     average over the prompts: this is a single prompt",
    ),
    "transposed": (lambda clean, corrupted: utils.heat_map(patterns(clean, *EARLY).mT), "do not transpose"),
    "sum": (lambda clean, corrupted: utils.heat_map(8 * patterns(clean, *EARLY)), "do not sum"),
    "rounded": (lambda clean, corrupted: utils.heat_map(patterns(clean, *EARLY).round(decimals=2)), "round nothing"),
    "averaged over the heads": (
        lambda clean, corrupted: utils.heat_map(patterns(clean, *EARLY).mean(dim=0)),
        "as plot_mean_attention of notebook 4 does",
    ),
    "another size": (lambda clean, corrupted: utils.heat_map(torch.eye(3)), "no heat map of 3.0 and 5.5"),
    "empty": (lambda clean, corrupted: go.Figure(), "an empty figure"),
}


@pytest.mark.parametrize("draw", EARLY_RIGHT.values(), ids=EARLY_RIGHT)
def test_right_figure_of_the_early_heads_passes(draw, caches, capsys):
    figure = draw(*caches)
    capsys.readouterr()
    tests.test_early_heads_figure(figure)
    assert capsys.readouterr() == ("early_heads_figure: all checks passed.\n", "")


@pytest.mark.parametrize(("draw", "words"), EARLY_WRONG.values(), ids=EARLY_WRONG)
def test_wrong_figure_of_the_early_heads_fails_with_a_message_that_names_the_problem(draw, words, caches, capsys):
    with pytest.raises(CheckFailed) as caught:
        tests.test_early_heads_figure(draw(*caches))
    assert not isinstance(caught.value, NotImplementedYet)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 4
    assert "passed" not in capsys.readouterr().out


def test_a_figure_of_the_early_heads_not_begun_is_not_implemented_yet():
    with pytest.raises(NotImplementedYet, match="early_heads_figure is not implemented yet"):
        tests.test_early_heads_figure(...)


def test_on_another_model_the_early_heads_are_its_own_strongest_by_query(tiny_gpt2, monkeypatch):
    monkeypatch.setattr(models, "_in_use", ("tiny", tiny_gpt2))
    monkeypatch.setenv("IOI_MODEL", "tiny")
    data = utils.load_ioi(tiny_gpt2)
    q_map = utils.reference_sweep("get_act_patch_attn_head_q_all_pos", tiny_gpt2, data)
    (first, second), weak = utils.topk_of_Nd_tensor(q_map, k=2), utils.topk_of_Nd_tensor(-q_map, k=1)
    _, cache = tiny_gpt2.run_with_cache(data.clean_tokens)
    tests.test_early_heads_figure(utils.heat_map(patterns(cache, first, second)))
    with pytest.raises(CheckFailed, match=rf"no heat map of {second[0]}\.{second[1]}; "):
        tests.test_early_heads_figure(utils.heat_map(patterns(cache, first, *weak)))
