"""Predictions, compared with maps: worked examples, what is drawn and printed, and every message word by word."""

from collections.abc import Iterator

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from nbclient import NotebookClient

from utils import IOIData, PredictionError, compare_prediction
from utils.predictions import read_prediction

TOKENS = "BOS When John and Mary went to the shops , John gave the bag to".split()
TOKENS_1 = "BOS When John and Mary went to the shops , Mary gave the bag to".split()
POSITIONS = {"S1": (2, 4), "S1+1": (3, 5), "IO": (4, 2), "S2": (10, 10), "END": (14, 14)}
DATA = IOIData(
    prompts=[" ".join(TOKENS), " ".join(TOKENS_1)],
    answers=[(" Mary", " John"), (" John", " Mary")],
    clean_tokens=torch.zeros(2, 15, dtype=torch.long),
    corrupted_tokens=torch.zeros(2, 15, dtype=torch.long),
    answer_tokens=torch.zeros(2, 2, dtype=torch.long),
    positions={name: torch.tensor(numbers) for name, numbers in POSITIONS.items()},
    labels=[f"{token} {position}" for position, token in enumerate(TOKENS)],
    str_tokens=[TOKENS, TOKENS_1],
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[go.Figure]]:
    """The figures that were shown."""
    figures: list[go.Figure] = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: figures.append(figure))
    return figures


def residual_map() -> torch.Tensor:
    """S2 until layer 8, END from layer 8 on, as in a map of resid_pre; and a little noise."""
    values = torch.full((12, 15), 0.01)
    values[:9, 10], values[8:, 14], values[8, 11] = 1.0, -0.5, 0.2
    return values


def places(prediction: object, data: IOIData | None = None) -> list[tuple[int, int]]:
    predicted = read_prediction(prediction, 12, 15 if data else 12, data)
    return [tuple(place) for place in predicted.nonzero().tolist()]


# What a place can be


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ([], []),
        ([(9, 9), (9, 6)], [(9, 6), (9, 9)]),
        ({(9, 9), (9, 9)}, [(9, 9)]),
        ([[7, [3, 9]]], [(7, 3), (7, 9)]),
        ([(range(7, 9), 0)], [(7, 0), (8, 0)]),
        ([(3, ...)], [(3, head) for head in range(12)]),
        ([(np.int64(2), torch.tensor(5))], [(2, 5)]),
    ],
)
def test_places_of_a_map_of_heads(prediction, expected):
    assert places(prediction) == expected


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ([(0, "S2")], [(0, 10)]),
        ([(range(10, 12), ["S2", "END"])], [(10, 10), (10, 14), (11, 10), (11, 14)]),
        ([(11, range(13, 15)), (11, 2)], [(11, 2), (11, 13), (11, 14)]),
        ([(..., "END")], [(layer, 14) for layer in range(12)]),
    ],
)
def test_places_of_a_map_of_positions(prediction, expected):
    assert places(prediction, DATA) == expected


# What is drawn and printed


def test_prediction_and_result_are_shown_side_by_side(shown):
    compare_prediction([(range(8), "S2")], residual_map(), "Patching resid_pre", DATA)
    (figure,) = shown
    predicted, result = figure.data
    assert np.argwhere(predicted.z).tolist() == [[layer, 10] for layer in range(8)]
    np.testing.assert_array_equal(result.z, residual_map().numpy())
    assert [note.text for note in figure.layout.annotations] == ["your prediction", "the result"]
    assert figure.layout.title.text == "Patching resid_pre"
    assert list(result.x) == DATA.labels
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("position", "layer")


def test_a_map_of_heads_has_heads_as_columns_and_its_own_scale(shown):
    compare_prediction([(1, 0)], torch.tensor([[0.0, 0.25], [-0.5, 0.0]]))
    (figure,) = shown
    assert figure.layout.xaxis.title.text == "head"
    assert figure.data[0].x is None
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-0.5, 0.5)


def test_an_empty_prediction_shows_the_map_alone(shown, capsys):
    compare_prediction([], residual_map(), "Patching resid_pre", DATA)
    (figure,) = shown
    np.testing.assert_array_equal(figure.data[0].z, residual_map().numpy())
    assert len(figure.data) == 1
    assert figure.layout.title.text == "Patching resid_pre"
    assert capsys.readouterr().out == "You predicted no effect, so there is nothing to compare.\n"


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (
            [(range(8), "S2"), (range(8, 12), "END"), (11, 12)],
            "You expected an effect at 13 places; the map has one at 12 of them (at least 0.1 in absolute value).\n"
            "It has one at 2 places where you expected none; the largest is layer 8, S2: 1.00.",
        ),
        (
            [(range(9), "S2"), (8, 11)],
            "You expected an effect at 10 places; the map has one at 10 of them (at least 0.1 in absolute value).\n"
            "It has one at 4 places where you expected none; the largest is layer 8, END: -0.50.",
        ),
        (
            [(..., ["S2", "END"])],
            "You expected an effect at 24 places; the map has one at 13 of them (at least 0.1 in absolute value).\n"
            "It has one at 1 place where you expected none; this is layer 8, gave 11: 0.20.",
        ),
        (
            [(..., ...)],
            "You expected an effect at 180 places; the map has one at 14 of them (at least 0.1 in absolute value).\n"
            "It has none elsewhere.",
        ),
    ],
)
def test_what_was_hit_and_missed_in_a_map_of_positions(shown, capsys, prediction, words):
    compare_prediction(prediction, residual_map(), data=DATA)
    assert capsys.readouterr().out == words + "\n"


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (
            [(9, 9)],
            "You expected an effect at 1 place; the map has one there (at least 0.04 in absolute value).\n"
            "It has one at 1 place where you expected none; this is head 10.7: -0.40.",
        ),
        (
            [(0, 1)],
            "You expected an effect at 1 place; the map has none there (at least 0.04 in absolute value).\n"
            "It has one at 2 places where you expected none; the largest is head 10.7: -0.40.",
        ),
        (
            [(0, [1, 2])],
            "You expected an effect at 2 places; the map has one at none of them (at least 0.04 in absolute value).\n"
            "It has one at 2 places where you expected none; the largest is head 10.7: -0.40.",
        ),
    ],
)
def test_what_was_hit_and_missed_in_a_map_of_heads(shown, capsys, prediction, words):
    values = torch.zeros(12, 12)
    values[9, 9], values[10, 7], values[0, 0] = 0.3, -0.4, 0.03
    compare_prediction(prediction, values)
    assert capsys.readouterr().out == words + "\n"


def test_an_effect_counts_from_a_share_of_the_largest(shown, capsys):
    compare_prediction([(0, ...)], torch.tensor([[1.0, 0.5, -0.25]]), min_share=0.5)
    assert "the map has one at 2 of them (at least 0.5 in absolute value)" in capsys.readouterr().out


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_zeros_and_nan_are_no_effects(shown, capsys, value):
    compare_prediction([(0, 0)], torch.full((2, 3), value))
    assert capsys.readouterr().out == (
        "You expected an effect at 1 place; the map has none there (at least 0 in absolute value).\n"
        "It has none elsewhere.\n"
    )


# Invalid predictions

HEADS = {
    "nothing": (None, "A prediction is a list of places, not None: write [(9, 9)] or so."),
    "a name": ("9.9", "A prediction is a list of places, not '9.9': write [(9, 9)] or so."),
    "a dictionary": ({9: 9}, "A prediction is a list of places, not {9: 9}: write [(9, 9)] or so."),
    "a bare pair": ((9, 9), "A prediction is a list of places, not a single place: write [(9, 9)]."),
    "a bare list": ([..., 9], "A prediction is a list of places, not a single place: write [(..., 9)]."),
    "a string": (["9.9"], "'9.9' is not a place: write a pair (layer, head), (9, 9) for head 9.9."),
    "floats": ([9.9, 9.6], "9.9 is not a place: write a pair (layer, head), (9, 9) for head 9.9."),
    "a triple": ([(9, 9, 1)], "(9, 9, 1) is not a place: write a pair (layer, head), (9, 9) for head 9.9."),
    "no such layer": ([(12, 0)], "There is no layer 12 in this map: the layers go from 0 to 11."),
    "a long range": ([(range(9, 13), 0)], "There is no layer 12 in this map: the layers go from 0 to 11."),
    "a negative head": ([(0, -1)], "There is no head -1 in this map: the heads go from 0 to 11."),
    "a position": (
        [(9, "END")],
        "'END' is not a head: write a number, a range or list of these, or ... for all.",
    ),
    "a float": ([(9, 9.5)], "9.5 is not a head: write a number, a range or list of these, or ... for all."),
}
POSITION_MAPS = {
    "nothing": (None, 'A prediction is a list of places, not None: write [(9, "END")] or so.'),
    "a bare pair": ((0, "S2"), "A prediction is a list of places, not a single place: write [(0, 'S2')]."),
    "a bare range": (
        (range(3), "S2"),
        "A prediction is a list of places, not a single place: write [(range(0, 3), 'S2')].",
    ),
    "a name": (["S2"], "'S2' is not a place: write a pair (layer, position), such as (9, \"END\")."),
    "no such position": ([(0, 15)], "There is no position 15 in this map: the positions go from 0 to 14."),
    "an unknown name": (
        [(0, "S3")],
        '\'S3\' is not a position: write a number, "S2" or "END", a range or list of these, or ... for all.',
    ),
    "swapped": (
        [("S2", 0)],
        "'S2' is not a layer: write a number, a range or list of these, or ... for all.",
    ),
    "a varying position": ([(0, "S1")], "S1 is not at the same position in every prompt: write [2, 4]."),
}


@pytest.mark.parametrize(("prediction", "message"), HEADS.values(), ids=HEADS)
def test_an_invalid_prediction_of_heads(prediction, message):
    with pytest.raises(PredictionError) as error:
        compare_prediction(prediction, torch.zeros(12, 12))
    assert str(error.value) == message


@pytest.mark.parametrize(("prediction", "message"), POSITION_MAPS.values(), ids=POSITION_MAPS)
def test_an_invalid_prediction_of_positions(prediction, message):
    with pytest.raises(PredictionError) as error:
        compare_prediction(prediction, torch.zeros(12, 15), data=DATA)
    assert str(error.value) == message


def test_a_result_with_several_maps_is_refused():
    with pytest.raises(PredictionError) as error:
        compare_prediction([], torch.zeros(3, 12, 15), data=DATA)
    assert str(error.value) == "The result has shape [3, 12, 15]: compare a prediction with one map of it."


# In a notebook


def test_a_notebook_shows_a_figure_and_text_or_one_line():
    cells = [
        "import torch, utils",
        "utils.compare_prediction([(0, 0)], torch.tensor([[1.0, 0.0]]))",
        "utils.compare_prediction([(2, 0)], torch.tensor([[1.0, 0.0]]))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    NotebookClient(notebook, timeout=120, allow_errors=True).execute()
    _, compared, refused = (cell.outputs for cell in notebook.cells)
    assert [output.get("name", output.output_type) for output in compared] == ["display_data", "stdout"]
    (error,) = refused
    assert error.traceback == ["PredictionError: There is no layer 2 in this map: the layers go from 0 to 0."]
