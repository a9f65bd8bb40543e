"""One entry of a map in detail: what that patch did, as data and as HTML."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from utils.errors import WorkbookError
from utils.ioi import logits_to_ave_logit_diff
from utils.lab_widgets.maps import DIRECTIONS, Choice, Runs, make_metric
from utils.models import n_key_value_heads
from utils.published_view import map_table
from utils.sweep_specs import ATTENDED_TO

TOP = 5


class Cell(NamedTuple):
    """An entry of a map, by its indices; None where the map has no such axis."""

    layer: int
    head: int | None = None
    pos: int | None = None

    def name(self, labels: list[str]) -> str:
        """Return its name, such as `"9.9"`, `"5 at John 10"` or `"9.9 at to 14"`."""
        head = "" if self.head is None else f".{self.head}"
        return f"{self.layer}{head}" + ("" if self.pos is None else f" at {labels[self.pos]}")


@dataclass(frozen=True, eq=False)
class Effect:
    """What one patch did."""

    choice: Choice
    cell: Cell
    name: str
    value: float
    """The entry of the map."""
    before: list[tuple[str, float]]
    """The first prompt's tokens with the largest probabilities, without the patch."""
    after: list[tuple[str, float]]
    labels: list[str]
    """The tokens of the first prompt with their positions."""
    logit_diffs: dict[str, list[float]]
    """The logit differences of each prompt: in the `"clean"`, the `"corrupted"` and the `"patched"` run."""
    attention: dict[str, Float[Tensor, "pos_q pos_k"]]
    """The head's pattern on the first prompt in the `"clean"` and the `"corrupted"` run; empty without heads."""


def cell_at(choice: Choice, facet: int, row: int, column: int) -> Cell:
    """Return the cell that a click on the map's figure means."""
    if not choice.has_heads:
        return Cell(row, pos=column)
    return Cell(facet, row, column) if choice.spec.by_position else Cell(row, column)


def read_cell(text: str, model: TransformerBridge, choice: Choice, labels: list[str]) -> Cell:
    """Return the cell of a name; of a position, its number will do.

    Raises `WorkbookError` where the map has no such cell.
    """
    positions = len(labels) if choice.spec.by_position else 0
    limits = [model.cfg.n_layers, *([model.cfg.n_heads] * choice.has_heads), *([positions] if positions else [])]
    pattern = r"(\d+)" + r"\.(\d+)" * choice.has_heads + r" (?:.* )?(\d+)" * bool(positions)
    found = re.fullmatch(pattern, text.strip())
    numbers = [int(number) for number in found.groups()] if found else limits
    heads = numbers[1] if choice.has_heads else None
    if any(number >= limit for number, limit in zip(numbers, limits, strict=True)):
        example = Cell(limits[0] - 1, 0 if choice.has_heads else None, positions - 1 if positions else None)
        raise WorkbookError(f"This map has no cell {text.strip()!r}: write one such as {example.name(labels)}.")
    return Cell(numbers[0], heads, numbers[-1] if positions else None)


def patch_cell(model: TransformerBridge, runs: Runs, choice: Choice, cell: Cell) -> Effect:
    """Run the model with this one patch. Hooks that are left on the model are removed."""
    pairs, (patched, source) = runs.pairs, DIRECTIONS[choice.direction]
    where = _index(model, choice, cell)

    def patch(activation: Float[Tensor, "batch ..."], hook: HookPoint) -> Float[Tensor, "batch ..."]:
        activation = activation.clone()
        activation[where] = runs.caches[source][hook.name][where]
        return activation

    model.reset_hooks()
    hook_name = get_act_name(choice.component, cell.layer)
    logits = model.run_with_hooks(pairs.tokens[patched], fwd_hooks=[(hook_name, patch)])
    difference = partial(logits_to_ave_logit_diff, answer_tokens=pairs.answer_tokens, per_prompt=True)
    of_runs = runs.logits | {"patched": logits}
    patterns = {name: cache["pattern", cell.layer][0] for name, cache in runs.caches.items()}
    return Effect(
        choice,
        cell,
        f"{choice.component} {cell.name(pairs.labels)}",
        float(make_metric(runs, choice)(logits)),
        _top_tokens(model, runs.logits[patched]),
        _top_tokens(model, logits),
        pairs.labels,
        {name: difference(of_run).tolist() for name, of_run in of_runs.items()},
        {} if cell.head is None else {name: pattern[cell.head] for name, pattern in patterns.items()},
    )


def effect_table(effect: Effect) -> str:
    """Return an effect as HTML tables: the top tokens before and after, logit differences, and attention."""
    tokens = [
        (escape(a), f"{p:.3f}", escape(b), f"{q:.3f}")
        for (a, p), (b, q) in zip(effect.before, effect.after, strict=True)
    ]
    diffs = [map("{:.2f}".format, values) for values in zip(*effect.logit_diffs.values(), strict=True)]
    return (
        f"<b>{escape(effect.name)}: {effect.value:.3f}</b>"
        + _table(("before", "", "after", ""), tokens)
        + "Logit difference of each prompt"
        + _table(effect.logit_diffs, diffs)
        + "".join(
            map_table(f"Attention, {run} run", pattern, effect.labels, 1.0, "query {}, key {}")
            for run, pattern in effect.attention.items()
        )
    )


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{head}</th>" for head in heads)]
    lines += ["".join(f"<td>{entry}</td>" for entry in row) for row in rows]
    return f"<table style='line-height: 1.4'><tr>{'<tr>'.join(lines)}</table>"


def _index(model: TransformerBridge, choice: Choice, cell: Cell) -> tuple[int | slice, ...]:
    """Return the indices of a cell in its activation; query heads may share their keys and values."""
    everything = slice(None)
    pos = everything if cell.pos is None else cell.pos
    if cell.head is None:
        return everything, pos
    if choice.component == "pattern":
        return everything, cell.head, pos
    shared = model.cfg.n_heads // n_key_value_heads(model) if choice.component in ATTENDED_TO else 1
    return everything, pos, cell.head // shared


def _top_tokens(model: TransformerBridge, logits: Float[Tensor, "batch pos d_vocab"]) -> list[tuple[str, float]]:
    """Return the tokens with the largest probabilities at the end of the first prompt."""
    probabilities, tokens = logits[0, -1].softmax(-1).topk(TOP)
    return list(zip(map(str, model.to_str_tokens(tokens)), probabilities.tolist(), strict=True))
