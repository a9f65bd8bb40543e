"""Batches of IOI prompts as tokens, with the positions and answers the losses need.

Rows come in pairs that differ only in the subject: rows 0, 2, 4, ... are used as clean prompts and rows 1, 3,
5, ... as their corruptions, exactly as in the workbook, where each adjacent pair of the 8 published prompts
is swapped.
"""

import random
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from utils.ioi import ANSWERS, PROMPTS

from .tokenizer import BOS
from .words import NAMES, sample_sentence

BOS_ID = 0


@dataclass
class Batch:
    """Prompts of several lengths, filled up on the right with BOS, which causal attention never sees."""

    tokens: Int[Tensor, "batch pos"]
    end: Int[Tensor, " batch"]  # position of the last token
    s1: Int[Tensor, " batch"]  # first and second mention of the subject, mention of the indirect object
    s2: Int[Tensor, " batch"]
    io: Int[Tensor, " batch"]
    io_token: Int[Tensor, " batch"]  # correct and incorrect answer
    s_token: Int[Tensor, " batch"]
    is_ioi: Bool[Tensor, " batch"]  # False where the subject is a third name, so that nothing is repeated

    @property
    def rows(self) -> Int[Tensor, " batch"]:
        return torch.arange(len(self.tokens))

    @property
    def is_real(self) -> Bool[Tensor, "batch pos"]:
        """True up to END, False on the filling."""
        return torch.arange(self.tokens.shape[1])[None] <= self.end[:, None]

    def logit_diff(self, logits: Tensor) -> Tensor:
        """Return logit(IO) - logit(S) at END, one value a row; `logits` is [batch pos d_vocab]."""
        return self.answer_diff(logits[self.rows, self.end])

    def answer_diff(self, at_end: Float[Tensor, "batch d_vocab"]) -> Float[Tensor, " batch"]:
        """Return logit(IO) - logit(S), one value a row."""
        return at_end[self.rows, self.io_token] - at_end[self.rows, self.s_token]

    def select(self, rows: slice) -> "Batch":
        """Return the given rows as a batch of their own."""
        return Batch(**{name: value[rows] for name, value in vars(self).items()})


class BatchMaker:
    """Draws batches; the same seed draws the same ones."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)
        self.name_ids = torch.tensor([self.token_of(" " + name) for name in NAMES])

    def token_of(self, word: str) -> int:
        (token,) = self.tokenizer(word)["input_ids"]
        return token

    def random_pairs(self, n_pairs: int, share_without_ioi: float = 0.0, held_out: bool = False) -> Batch:
        """Return `n_pairs` random clean and corrupted prompts, interleaved.

        In a share of the pairs both subjects are names not mentioned before, so that the model also learns
        what the end of a sentence looks like when nothing is repeated.
        """
        texts, names, subjects = [], [], []
        for _ in range(n_pairs):
            sentence = sample_sentence(self.rng, held_out)
            pair = list(sentence.names)
            self.rng.shuffle(pair)
            if self.rng.random() < share_without_ioi:
                pair = self.rng.sample([name for name in NAMES if name not in sentence.names], 2)
            for subject in pair:
                texts.append(sentence.text(subject))
                names.append(sentence.names)
                subjects.append(subject)
        return self._batch(texts, names, subjects)

    def published_pairs(self) -> Batch:
        """Return the 8 published prompts, each followed by its corruption: 16 rows."""
        order = [row for clean in range(len(PROMPTS)) for row in (clean, clean ^ 1)]
        texts = [PROMPTS[row] for row in order]
        names = [tuple(name.strip() for name in ANSWERS[row]) for row in order]
        subjects = [ANSWERS[row][1].strip() for row in order]
        return self._batch(texts, names, subjects)

    def _batch(self, texts: list[str], names: list[tuple[str, str]], subjects: list[str]) -> Batch:
        encoded = self.tokenizer([BOS + text for text in texts])["input_ids"]
        longest = max(map(len, encoded))
        tokens = torch.tensor([ids + [BOS_ID] * (longest - len(ids)) for ids in encoded])
        rows = [self._positions(*row) for row in zip(encoded, names, subjects, strict=True)]
        columns = {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
        return Batch(tokens=tokens, **columns)

    def _positions(self, ids: list[int], names: tuple[str, str], subject: str) -> dict:
        """Return what `Batch` says about one row; without a repeated name, any name may follow."""
        s_token = self.token_of(" " + subject)
        s2 = len(ids) - 1 - ids[::-1].index(s_token)
        row = dict(end=len(ids) - 1, s1=0, s2=s2, io=0, s_token=s_token, is_ioi=subject in names)
        if not row["is_ioi"]:
            return row | dict(io_token=self.token_of(" " + self.rng.choice(names)))
        io_token = self.token_of(" " + (names[1] if names[0] == subject else names[0]))
        return row | dict(s1=ids.index(s_token), io=ids.index(io_token), io_token=io_token)
