"""Notebook 04: the pictures that students draw, a function for attention patterns and a map of their own choice."""

import difflib
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tests.checks.cases import SweepCase, one_thread, tiny_cases
from tests.checks.checking import (
    CheckFailed,
    NotImplementedYet,
    call_with,
    changed_tensors,
    describe,
    exercise_check,
    global_hints,
    require_close,
    variable_check,
)
from tests.checks.figures import HeatMap, equal, find, mean_attention_hint, nothing_shown, read_heat_maps
from utils import load_ioi, make_ioi_metric, model_in_use, published_patching, reference_sweep, sweeps
from utils.circuit import Head
from utils.references import TOLERANCE
from utils.sweep_specs import PUBLISHED_SWEEPS, SWEEPS, SweepSpec


@exercise_check
def test_plot_mean_attention(plot_mean_attention: Callable) -> None:
    """Check the figure of mean attention patterns: one heat map for each head, in order, with the right numbers.

    On caches of tiny random models, for several lists of heads. Reads the data of the figure, which may be drawn by
    any function of plotly, and not its titles or colours. Takes a fraction of a second.
    """
    with one_thread(), nothing_shown():
        for case in tiny_cases():
            last = case.model.cfg.n_layers - 1
            for heads in ([(1, 0)], [(last, 1), (0, 1), (last, 0)], [(0, 1), (0, 0)]):
                _check_drawing(plot_mean_attention, case, heads)


def _check_drawing(function: Callable, case: SweepCase, heads: list[Head]) -> None:
    """Call the function on the clean cache of a case, and compare its heat maps with the mean patterns."""
    cache, name = case.clean_cache, "plot_mean_attention"
    patterns = torch.stack([cache["pattern", layer][:, head] for layer, head in heads]).double().cpu()
    n_positions = patterns.shape[-1]
    given, labels = list(heads), [f"word {position}" for position in range(n_positions)]
    before = {key: tensor.clone() for key, tensor in cache.cache_dict.items()}
    figure = call_with(function, name, cache=cache, heads=given, labels=labels)
    if changed_tensors(cache.cache_dict, before) or given != heads or len(labels) != n_positions:
        what = "the list of heads" if given != heads else "labels" if len(labels) != n_positions else "the cache"
        raise CheckFailed(
            f"{name} leaves its arguments as they were", f"{what} unchanged", f"{what} was changed", "work on a copy"
        )
    names = [f"head {layer}.{head}" for layer, head in heads]
    checked = f"{name} draws {', '.join(names)} {case.description}"
    heat_maps = read_heat_maps(figure, checked, "return", labels)
    if len(heat_maps) != len(heads):
        wanted, found = (f"{count} heat map{'s' * (count > 1)}" for count in (len(heads), len(heat_maps)))
        raise CheckFailed(checked, wanted, found, _count_hint(heat_maps, patterns))
    other = next((heat_map for heat_map in heat_maps if heat_map.shape != patterns.shape[-2:]), None)
    if other is not None:
        wanted, found = f"heat maps of shape {[n_positions] * 2}", f"a heat map of shape {list(other.shape)}"
        square = "the cache's pattern has a row and a column for each position"
        raise CheckFailed(checked, wanted, found, "".join(global_hints(function)) or square)

    def hint() -> str:
        return "".join(global_hints(function)) or _hint(heat_maps, patterns, heads, names, case)

    require_close(torch.stack(heat_maps), patterns.mean(dim=1), "component row column", checked, hint, names)


def _count_hint(heat_maps: list[HeatMap], patterns: Float[Tensor, "head batch pos_q pos_k"]) -> str:
    if find(patterns.mean(dim=(0, 1)), heat_maps) is not None:
        return "draw each head: do not average over the heads"
    if find(patterns[0, 0], heat_maps) is not None and len(heat_maps) >= patterns.shape[1]:
        return "average over the prompts: one heat map for each head, not for each prompt"
    return "one heat map for each head: utils.heat_map draws one for each matrix of a stack [head row column]"


def _hint(
    heat_maps: list[HeatMap],
    patterns: Float[Tensor, "head batch pos_q pos_k"],
    heads: list[Head],
    names: list[str],
    case: SweepCase,
) -> str:
    """Name the usual mistake that draws the first wrong heat map."""
    expected = patterns.mean(dim=1)
    found = [find(heat_map, list(expected)) for heat_map in heat_maps]
    wrong = next(number for number, other in enumerate(found) if other != number)
    if (other := found[wrong]) is not None:
        return f"keep the order of the heads: {names[other]} is in the place of {names[wrong]}"
    (layer, head), heat_map = heads[wrong], heat_maps[wrong]
    all_heads = case.clean_cache["pattern", layer].double().cpu()
    causes = [
        (all_heads.mean(dim=(0, 1)), "this is the average over all heads of the layer: index the head, on axis 1"),
        (all_heads[head].mean(dim=0), "the axes of a pattern are [batch head pos_q pos_k]: the head is on axis 1"),
    ]
    if layer < case.model.cfg.n_heads and head < case.model.cfg.n_layers:
        swapped = case.clean_cache["pattern", head][:, layer].double().cpu().mean(dim=0)
        causes.append((swapped, f"the layer comes first: {(layer, head)} is head {head} of layer {layer}"))
    return (
        mean_attention_hint(heat_map, patterns[wrong])
        or next((hint for matrix, hint in causes if equal(heat_map, matrix)), "")
        or "each heat map is the mean, over the prompts (axis 0), of one head (axis 1) of the cache's pattern"
    )


@variable_check
def test_my_map(my_map: object, my_sweep: str) -> None:
    """Check that `my_map` draws the result, or parts of it, of the sweep that `my_sweep` names.

    `my_sweep` is the name of a function of `utils.sweeps`, which is run on the loaded model and the 8 IOI prompts.
    `my_map` is a plotly figure. The numbers in each row of a heat map, or in each column, must be those of the result
    along one of its axes, layer, pos or head; all of them or some, in any order. A heat map of one number all over
    shows nothing and is refused. Takes as long as the sweep, at most some seconds on ioi-mini. Where `utils.sweeps`
    does not serve the model, it is the sweep of `transformer_lens.patching`, whose result is cached on disk.
    """
    if my_map is None and isinstance(my_sweep, str) and not my_sweep:
        raise NotImplementedYet("my_map")
    spec = _spec(my_sweep)
    checked = f"my_map draws what utils.sweeps.{spec.name} gives on the 8 IOI prompts"
    heat_maps = read_heat_maps(my_map, checked, "assign")
    for number, heat_map in enumerate(heat_maps, start=1):
        if heat_map.isnan().any():
            nan = f"heat map {number} has entries without a number"
            raise CheckFailed(checked, "a number in every entry", nan, "draw every entry, and none as NaN or None")
        if heat_map.max() - heat_map.min() <= TOLERANCE["atol"]:
            raise CheckFailed(
                checked,
                "heat maps that show a difference",
                f"heat map {number} is {heat_map[0, 0]:z.4f} everywhere",
                "no patch there changes the metric: choose a part of the result where some do",
            )
    result = _run(spec)
    for number, heat_map in enumerate(heat_maps, start=1):
        if not _is_part(heat_map, result, spec):
            raise CheckFailed(
                checked,
                f"numbers of its result, [{spec.axes}], along one of its axes in each row or in each column",
                f"heat map {number}, of shape {list(heat_map.shape)}, has other numbers",
                _other_numbers_hint(heat_map),
            )


def _spec(my_sweep: object) -> SweepSpec:
    if isinstance(my_sweep, str) and my_sweep in SWEEPS:
        return SWEEPS[my_sweep]
    similar = difflib.get_close_matches(my_sweep, SWEEPS, n=1) if isinstance(my_sweep, str) else []
    families = {
        "layers": [spec.name for spec in SWEEPS.values() if "head" not in spec.axes],
        "heads": [spec.name for spec in SWEEPS.values() if "head" in spec.axes and not spec.by_position],
        "heads at one position": [spec.name for spec in SWEEPS.values() if "head" in spec.axes and spec.by_position],
    }
    raise CheckFailed(
        "my_sweep is the name of a function of utils.sweeps, as text",
        "\n            ".join(f"of {family}: {', '.join(names)}" for family, names in families.items()),
        describe(my_sweep),
        f'did you mean my_sweep = "{similar[0]}"?' if similar else "copy one of these names, in quotation marks",
    )


def _run(spec: SweepSpec) -> Float[Tensor, "..."]:
    model = model_in_use()
    model.reset_hooks(including_permanent=True)  # those of an earlier exercise
    data = load_ioi(model)
    if sweeps.why_unsupported(model):
        return reference_sweep(spec.name, model, data).cpu()
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    arguments = model, data.corrupted_tokens, clean_cache, make_ioi_metric(model, data)
    return getattr(sweeps, spec.name)(*arguments, tokens_read=data.answer_tokens).cpu()


def _is_part(heat_map: HeatMap, result: Float[Tensor, "..."], spec: SweepSpec) -> bool:
    """Return whether each row, or each column, has its numbers from one line of the result along an axis."""
    first_axis = 1 if spec.has_component_axis else 0
    return any(
        lines.shape[1] > 1 and all(_has_all(result.movedim(axis, -1).flatten(0, -2), line) for line in lines)
        for lines in (heat_map, heat_map.T)
        for axis in range(first_axis, result.dim())
    )


def _has_all(lines: Float[Tensor, "line entry"], numbers: Float[Tensor, "number"]) -> bool:
    """Return whether there is a line in which all of these numbers occur."""
    found = torch.isclose(lines.double()[:, :, None], numbers, **TOLERANCE)
    return bool(found.any(dim=1).all(dim=1).any())


def _other_numbers_hint(heat_map: HeatMap) -> str:
    if any(_is_part(heat_map, published_patching(name), spec) for name, spec in PUBLISHED_SWEEPS.items()):
        return "these are the published numbers of gpt2-small: draw those of the model in use"
    return "name in my_sweep the sweep that is drawn, and draw its numbers as they are, neither scaled nor averaged"
