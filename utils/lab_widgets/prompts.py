"""The lab's text fields, read as pairs of prompts: tokens, or a sentence for the field that cannot be used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.errors import PromptError
from utils.ioi import equally_long_tokens, load_ioi, position_labels, refuse_unknown_words, single_token

FIELDS = {
    "clean": "Clean prompt",
    "corrupted": "Corrupted prompt",
    "correct": "Correct answer",
    "incorrect": "Incorrect answer",
}
"""What the fields are labelled."""


class FieldError(PromptError):
    """What stands in one of the fields cannot be used."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True)
class Pairs:
    """Pairs of prompts, clean and corrupted, all equally long in tokens, with two answers for each."""

    prompts: dict[str, list[str]]
    """The `"clean"` and the `"corrupted"` prompts."""
    tokens: dict[str, Int[Tensor, "batch pos"]]
    str_tokens: dict[str, list[list[str]]]
    answers: list[tuple[str, str]]
    """(correct, incorrect) for each pair, with leading spaces."""
    answer_tokens: Int[Tensor, "batch 2"]

    @property
    def labels(self) -> list[str]:
        """The tokens of the first clean prompt with their positions, for the axes of maps."""
        return position_labels(self.str_tokens["clean"][0])


def first_fields(model: TransformerBridge) -> dict[str, str]:
    """Return what stands in the fields at first: the first pair of the workbook's prompts."""
    data = load_ioi(model)
    return dict(zip(FIELDS, [*data.prompts[:2], *(answer.strip() for answer in data.answers[0])], strict=True))


def read_pairs(model: TransformerBridge, fields: Mapping[str, str]) -> Pairs:
    """Return the pairs of prompts that the fields hold: a prompt a line, and an answer for each, or one for all.

    Raises `FieldError`, in one sentence, if they cannot be used.
    """
    clean, corrupted = (_lines(model, name, fields[name]) for name in ("clean", "corrupted"))
    if len(corrupted) != len(clean):
        raise FieldError("corrupted", f"Write as many prompts as in the field above, one a line: {len(clean)}.")
    _blame("clean", equally_long_tokens, model, clean)
    tokens = _blame("corrupted", equally_long_tokens, model, clean + corrupted)
    of_runs = dict(zip(("clean", "corrupted"), tokens.unflatten(0, (2, -1)), strict=True))
    if torch.equal(*of_runs.values()):
        raise FieldError("corrupted", "Both prompts are the same: change a word in one of them.")
    words, answers = zip(
        *(_answers(model, name, fields[name], len(clean)) for name in ("correct", "incorrect")), strict=True
    )
    if any(correct == incorrect for correct, incorrect in zip(*answers, strict=True)):
        raise FieldError("incorrect", "Both answers are the same: choose another one.")
    return Pairs(
        {"clean": clean, "corrupted": corrupted},
        of_runs,
        {name: [[str(token) for token in model.to_str_tokens(row)] for row in rows] for name, rows in of_runs.items()},
        list(zip(*words, strict=True)),
        torch.tensor(answers, device=tokens.device).T,
    )


def token_table(pairs: Pairs) -> str:
    """Return the tokens as an HTML table, each pair aligned, with what differs marked."""
    rows = ["<tr><th></th>" + "".join(f"<td>{position}</td>" for position in range(len(pairs.labels)))]
    for pair in zip(*pairs.str_tokens.values(), strict=True):
        marks = ["<b><mark>{}</mark></b>" if a != b else "{}" for a, b in zip(*pair, strict=True)]
        for name, tokens in zip(pairs.str_tokens, pair, strict=True):
            shown = [mark.format(escape(token.strip()) or "␣") for mark, token in zip(marks, tokens, strict=True)]
            rows.append(f"<tr><th>{name}</th>" + "".join(f"<td>{token}</td>" for token in shown))
    return f"<table style='line-height: 1.4'>{''.join(rows)}</table>"


def _blame(field: str, function: Callable, *arguments: object) -> Any:
    """Call a function, and say of which field its error is."""
    try:
        return function(*arguments)
    except PromptError as error:
        raise FieldError(field, str(error)) from None


def _lines(model: TransformerBridge, field: str, text: str) -> list[str]:
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise FieldError(field, "Write a prompt, which ends where the answer should follow.")
    _blame(field, refuse_unknown_words, model, prompts)
    return prompts


def _answers(model: TransformerBridge, field: str, text: str, n_prompts: int) -> tuple[list[str], list[int]]:
    """Return the answers and their tokens."""
    words = [f" {word}" for word in text.split()]
    if len(words) not in (1, n_prompts):
        raise FieldError(field, f"Write one word, or one for each prompt ({n_prompts}), and not {len(words)}.")
    words *= n_prompts // len(words)
    return words, [int(_blame(field, single_token, model, word)) for word in words]
