"""The lab's text fields, read as pairs of prompts: tokens, or a sentence for the field that cannot be used."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

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
"""The names of the fields, as saved and as shown."""


class FieldError(PromptError):
    """What stands in one of the fields cannot be used."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True)
class Pairs:
    """Pairs of prompts, clean and corrupted, equally long in tokens, with two answers for each."""

    prompts: dict[str, list[str]]
    """The `"clean"` and the `"corrupted"` prompts."""
    tokens: dict[str, Int[Tensor, "batch pos"]]
    answers: list[tuple[str, str]]
    """(correct, incorrect) for each pair, with leading spaces."""
    answer_tokens: Int[Tensor, "batch 2"]
    str_tokens: dict[str, list[list[str]]]

    @property
    def labels(self) -> list[str]:
        """The tokens of the first clean prompt with their positions, for the axes of maps."""
        return position_labels(self.str_tokens["clean"][0])

    @property
    def first_difference(self) -> int:
        """The first position at which a pair differs."""
        return int((self.tokens["clean"] != self.tokens["corrupted"]).any(0).nonzero()[0])


def first_fields(model: TransformerBridge) -> dict[str, str]:
    """Return what stands in the fields at first: the first pair of the workbook's prompts."""
    data = load_ioi(model)
    correct, incorrect = (answer.strip() for answer in data.answers[0])
    return {"clean": data.prompts[0], "corrupted": data.prompts[1], "correct": correct, "incorrect": incorrect}


def read_pairs(model: TransformerBridge, fields: Mapping[str, str]) -> Pairs:
    """Return the pairs of prompts that the fields hold: a prompt a line, and an answer for each, or one for all.

    Raises `FieldError`, in one sentence, if they cannot be used.
    """
    prompts = {name: _read_prompts(model, name, fields[name]) for name in ("clean", "corrupted")}
    n_prompts = len(prompts["clean"])
    if len(prompts["corrupted"]) != n_prompts:
        raise FieldError("corrupted", f"Write as many prompts as in the field above, {n_prompts}, one in each line.")
    with _blamed_on("clean"):
        clean = equally_long_tokens(model, prompts["clean"])
    with _blamed_on("corrupted"):
        both = equally_long_tokens(model, prompts["clean"] + prompts["corrupted"])
    if both.shape[1] > model.cfg.n_ctx:
        raise FieldError("clean", f"The model takes at most {model.cfg.n_ctx} tokens: these are {both.shape[1]}.")
    tokens = {"clean": clean, "corrupted": both[n_prompts:]}
    if torch.equal(tokens["clean"], tokens["corrupted"]):
        raise FieldError("corrupted", "Both prompts are the same: change a word in one of them.")
    columns = [_read_answers(model, name, fields[name], n_prompts) for name in ("correct", "incorrect")]
    answers = list(zip(*columns, strict=True))
    if any(correct == incorrect for correct, incorrect in answers):
        raise FieldError("incorrect", "Both answers are the same: choose another one.")
    answer_tokens = [[single_token(model, answer) for answer in pair] for pair in answers]
    return Pairs(
        prompts,
        tokens,
        answers,
        torch.tensor(answer_tokens, device=clean.device),
        {name: [[str(token) for token in model.to_str_tokens(row)] for row in tokens[name]] for name in tokens},
    )


def token_table(pairs: Pairs) -> str:
    """Return the tokens as an HTML table, each pair aligned, with what differs marked."""
    rows = [f"<tr><th></th>{''.join(f'<td>{position}</td>' for position in range(len(pairs.labels)))}</tr>"]
    for clean, corrupted in zip(*pairs.str_tokens.values(), strict=True):
        marks = ["<b><mark>{}</mark></b>" if a != b else "{}" for a, b in zip(clean, corrupted, strict=True)]
        for name, tokens in (("clean", clean), ("corrupted", corrupted)):
            shown = [mark.format(escape(token.strip()) or "␣") for mark, token in zip(marks, tokens, strict=True)]
            rows.append(f"<tr><th>{name}</th>{''.join(f'<td>{token}</td>' for token in shown)}</tr>")
    return f"<table>{''.join(rows)}</table>"


@contextlib.contextmanager
def _blamed_on(field: str) -> Iterator[None]:
    try:
        yield
    except PromptError as error:
        raise FieldError(field, str(error)) from None


def _read_prompts(model: TransformerBridge, field: str, text: str) -> list[str]:
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise FieldError(field, "Write a prompt, which ends where the answer should follow.")
    with _blamed_on(field):
        refuse_unknown_words(model, prompts)
    return prompts


def _read_answers(model: TransformerBridge, field: str, text: str, n_prompts: int) -> list[str]:
    answers = [f" {word}" for word in text.split()]
    if len(answers) not in (1, n_prompts):
        raise FieldError(field, f"Write one word, or one for each of the prompts: {n_prompts}, not {len(answers)}.")
    with _blamed_on(field):
        for answer in answers:
            single_token(model, answer)
    return answers if len(answers) == n_prompts else answers * n_prompts
