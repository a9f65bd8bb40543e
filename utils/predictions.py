"""Predict, then look: where a student expects an effect, beside the result of a sweep."""

import operator
from collections.abc import Mapping
from types import EllipsisType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from utils.errors import WorkbookError, shown
from utils.ioi import IOIData
from utils.plots import imshow


class PredictionError(WorkbookError):
    """A prediction is not a list of places in the map; the message says what to write."""


def compare_prediction(
    prediction: object,
    result: Float[Tensor, "..."],
    title: str = "",
    data: IOIData | None = None,
    min_share: float = 0.1,
) -> None:
    """Show a prediction and the result of a sweep side by side, and print what was hit and what was missed.

    `result` is a map [layer pos] of the prompts in `data`, or without `data` a map [layer head]. `prediction` is a list
    of places in it, (layer, position) or (layer, head). Each of the two is a number, a range or list of numbers, or
    `...` for all; a position may also be a name such as `"S2"`. With an empty list, only the map is shown.

    A place has an effect if its absolute value is at least `min_share` of the map's largest. Raises `PredictionError`
    for an invalid prediction, and for a result with several maps.
    """
    values = torch.as_tensor(result).detach().float().cpu()
    if values.ndim != 2:
        raise PredictionError(f"The result has shape {list(values.shape)}: compare a prediction with one map of it.")
    n_layers, n_columns = values.shape
    predicted = read_prediction(prediction, n_layers, n_columns, data)
    axes: dict[str, Any] = {"x": data.labels if data else None, "xaxis": "position" if data else "head"}
    if not predicted.any():
        imshow(values, title, yaxis="layer", **axes)
        print("You predicted no effect, so there is nothing to compare.")
        return
    largest = values.abs().nan_to_num().max().item()
    facets = {"facet_labels": ["your prediction", "the result"], "zmax": largest}
    imshow(torch.stack([predicted.float(), values]), title, yaxis="layer", **facets, **axes)
    print(_in_words(predicted, values, min_share * largest, data))


def read_prediction(
    prediction: object, n_layers: int, n_columns: int, data: IOIData | None = None
) -> Bool[Tensor, "layer column"]:
    """Return True at the predicted places; `data` as in `compare_prediction`. Raises `PredictionError`."""
    example = '(9, "END")' if data else "(9, 9)"
    if not isinstance(prediction, list | tuple | set):
        raise PredictionError(f"A prediction is a list of places, not {shown(prediction)}: write [{example}] or so.")
    if len(prediction) == 2 and isinstance(next(iter(prediction)), int | range | EllipsisType):
        raise PredictionError(
            f"A prediction is a list of places, not a single place: write [{shown(tuple(prediction))}]."
        )
    predicted = torch.zeros(n_layers, n_columns, dtype=torch.bool)
    for place in prediction:
        if not isinstance(place, list | tuple) or len(place) != 2:
            pair = f"(layer, position), such as {example}" if data else f"(layer, head), {example} for head 9.9"
            raise PredictionError(f"{shown(place)} is not a place: write a pair {pair}.")
        layers = _read_indices(place[0], n_layers, "layer", {})
        columns = _read_indices(place[1], n_columns, "position" if data else "head", data.positions if data else {})
        predicted[torch.tensor(layers).long()[:, None], torch.tensor(columns).long()] = True
    return predicted


def _read_indices(part: Any, size: int, kind: str, names: Mapping[str, Tensor]) -> list[int]:
    """Return the rows or columns in one part of a place; `names` has the named ones' numbers in each prompt."""
    if part is ...:
        return list(range(size))
    if isinstance(part, range | list | tuple | set):
        return [index for each in part for index in _read_indices(each, size, kind, names)]
    numbers = {name: sorted(set(found.tolist())) for name, found in names.items()}
    if isinstance(part, str) and part in numbers:
        if len(numbers[part]) > 1:
            raise PredictionError(f"{part} is not at the same position in every prompt: write {numbers[part]}.")
        return numbers[part]
    try:
        index = operator.index(part)
    except TypeError:
        usable = " or ".join(f'"{name}"' for name, found in numbers.items() if len(found) == 1)
        raise PredictionError(
            f"{shown(part)} is not a {kind}: write a number, {usable + ', ' if usable else ''}a range or list of "
            "these, or ... for all."
        ) from None
    if not 0 <= index < size:
        raise PredictionError(f"There is no {kind} {index} in this map: the {kind}s go from 0 to {size - 1}.")
    return [index]


def _in_words(
    predicted: Bool[Tensor, "layer column"],
    values: Float[Tensor, "layer column"],
    threshold: float,
    data: IOIData | None,
) -> str:
    """Say at how many places the prediction was right, and name the largest effect that it missed.

    In two lines, because JupyterLab breaks a long one in the middle of a word.
    """
    effects = (values.abs() >= threshold) & (values != 0)
    missed = effects & ~predicted
    expected, hits, others = (int(places.sum()) for places in (predicted, effects & predicted, missed))
    found = f"one at {hits or 'none'} of them" if expected > 1 else f"{'one' if hits else 'none'} there"
    bound = f"at least {threshold:.2g} in absolute value"
    words = f"You expected an effect at {_count(expected)}; the map has {found} ({bound})."
    if not others:
        return f"{words}\nIt has none elsewhere."
    layer, column = divmod(int(torch.where(missed, values.abs(), 0).argmax()), values.shape[1])
    which = f"{'this' if others == 1 else 'the largest'} is {_name(layer, column, data)}"
    return f"{words}\nIt has one at {_count(others)} where you expected none; {which}: {values[layer, column]:z.2f}."


def _count(places: int) -> str:
    return f"{places} place{'' if places == 1 else 's'}"


def _name(layer: int, column: int, data: IOIData | None) -> str:
    """Return a place's name: `head 9.9`, `layer 9, END` or, of prompt 0, `layer 9, gave 11`."""
    if data is None:
        return f"head {layer}.{column}"
    names = (name for name, numbers in data.positions.items() if (numbers == column).all())
    return f"layer {layer}, {next(names, data.labels[column])}"
