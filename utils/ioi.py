"""The IOI (indirect object identification) data set: prompts as tokens, answers, positions, and the logit difference.

Wang et al. 2022, "Interpretability in the Wild" (arXiv 2211.00593), introduced the task. The 8 prompts are those of
TransformerLens's demos; `published/gpt2_small_ioi.json` contains them and the results published for them.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.errors import PromptError, shown
from utils.models import IOI_MINI_FOLDER
from utils.published import published_results

PROMPTS: list[str] = published_results()["prompts"]
ANSWERS: list[tuple[str, str]] = [tuple(pair) for pair in published_results()["answers"]]
NAMES: list[str] = json.loads(IOI_MINI_FOLDER.with_name("words.json").read_text(encoding="utf-8"))["names"]
"""Names that take the place of those of which a tokenizer has no token."""

POSITIONS = ("S1", "S1+1", "IO", "S2", "END")

# A tokenizer with fewer entries than this, such as ioi-mini's, has tokens for whole words and spells out all others.
SMALL_VOCABULARY = 5000

Metric = Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, ""]]


@dataclass(frozen=True)
class IOIData:
    """IOI prompts as tokens of one model.

    Prompts come in adjacent pairs that differ only in S2, the second mention of the subject. Swapping the two prompts
    of each pair gives the corrupted prompts.
    """

    prompts: list[str]
    answers: list[tuple[str, str]]
    """(correct, incorrect) for each prompt, with leading spaces."""
    clean_tokens: Int[Tensor, "batch pos"]
    """The clean prompts, each starting with the beginning-of-sequence token."""
    corrupted_tokens: Int[Tensor, "batch pos"]
    answer_tokens: Int[Tensor, "batch 2"]
    positions: dict[str, Int[Tensor, "batch"]]
    """The positions of `"S1"`, `"S1+1"`, `"IO"`, `"S2"` and `"END"` in each clean prompt."""
    labels: list[str]
    """The tokens of prompt 0 with their positions, for the axes of heat maps."""
    str_tokens: list[list[str]]
    """The tokens of every clean prompt as text."""


def load_ioi(
    model: TransformerBridge,
    prompts: Sequence[str] = tuple(PROMPTS),
    answers: Sequence[Sequence[str]] = tuple(ANSWERS),
) -> IOIData:
    """Tokenize IOI prompts for a model, by default the 8 prompts of TransformerLens's demos, on the model's device.

    Of the default prompts, those of which the model's tokenizer splits a name get other names, and those of another
    length than most get the sentence of others; a printed line says which.

    Prompts 0 and 1, 2 and 3, and so on are pairs that differ only in S2; `answers` has (correct, incorrect) for each
    prompt, with leading spaces.

    Raises `PromptError` if an answer is not a single token of this model, if prompts differ in length, if two prompts
    are not such a pair, or if ioi-mini does not know a word.
    """
    prompts, pairs = list(prompts), [(correct, incorrect) for correct, incorrect in answers]
    if (prompts, pairs) == (PROMPTS, ANSWERS):
        prompts, pairs = _fit_to_tokenizer(model)
    else:
        _check_counts(prompts, pairs)
        refuse_unknown_words(model, prompts)
    answers_as_tokens = [[single_token(model, answer) for answer in pair] for pair in pairs]
    clean_tokens = equally_long_tokens(model, prompts)
    answer_tokens = torch.tensor(answers_as_tokens, device=clean_tokens.device)
    corrupted_tokens = clean_tokens.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    positions = _find_positions(clean_tokens, corrupted_tokens, answer_tokens, prompts, pairs)
    str_tokens = [[str(token) for token in model.to_str_tokens(row)] for row in clean_tokens]
    return IOIData(
        prompts=prompts,
        answers=pairs,
        clean_tokens=clean_tokens,
        corrupted_tokens=corrupted_tokens,
        answer_tokens=answer_tokens,
        positions=positions,
        labels=position_labels(str_tokens[0]),
        str_tokens=str_tokens,
    )


def logits_to_ave_logit_diff(
    logits: Float[Tensor, "batch pos d_vocab"],
    answer_tokens: Int[Tensor, "batch 2"],
    per_prompt: bool = False,
) -> Float[Tensor, ""] | Float[Tensor, "batch"]:
    """Return the logit difference: the logit of the correct answer minus that of the incorrect one, at END.

    It is the mean over the prompts, a 0-dimensional tensor, or one number for each prompt with `per_prompt`. After the
    function of the same name in TransformerLens's exploratory analysis demo.
    """
    end_logits = logits[:, -1, :]
    correct, incorrect = end_logits.gather(dim=-1, index=answer_tokens).unbind(dim=-1)
    logit_diff = correct - incorrect
    return logit_diff if per_prompt else logit_diff.mean()


def make_ioi_metric(model: TransformerBridge, data: IOIData) -> Metric:
    """Return the metric of notebook 01 for these prompts: 0 on the corrupted run, 1 on the clean run, linear between.

    The metric takes logits [batch pos d_vocab] of these prompts and returns a 0-dimensional tensor.
    """
    clean = logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens)
    corrupted = logits_to_ave_logit_diff(model(data.corrupted_tokens), data.answer_tokens)

    def ioi_metric(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
        return (logits_to_ave_logit_diff(logits, data.answer_tokens) - corrupted) / (clean - corrupted)

    return ioi_metric


def with_other_names(model: TransformerBridge, data: IOIData) -> Int[Tensor, "batch pos"]:
    """Return the clean prompts with three names in each that occur in none of them, as tokens: "ABC" prompts.

    No name is repeated, so such a prompt has no answer; all else is as it was. With few names that are single tokens,
    prompts share some. Raises `PromptError` where this model's tokenizer has fewer than three.
    """
    own = {name for pair in data.answers for name in pair}
    found = (f" {name}" for name in NAMES if f" {name}" not in own and _is_single_token(model, f" {name}"))
    names = list(itertools.islice(found, 3 * len(data.prompts)))
    if len(names) < 3:
        raise PromptError(f"This model's tokenizer has too few of our {len(NAMES)} names as single tokens.")
    others, tokens = itertools.cycle(names), data.clean_tokens.clone()
    for row in range(len(tokens)):
        for position in ("S1", "IO", "S2"):
            tokens[row, data.positions[position][row]] = single_token(model, next(others))
    return tokens


def with_names_swapped(data: IOIData) -> Int[Tensor, "batch pos"]:
    """Return the clean prompts with their two names exchanged at S1, IO and S2, so that the positions stay."""
    correct, incorrect = data.answer_tokens.T[:, :, None]
    tokens = data.clean_tokens
    return torch.where(tokens == correct, incorrect, torch.where(tokens == incorrect, correct, tokens))


def position_labels(str_tokens: list[str]) -> list[str]:
    """Return a distinct axis label for each position, such as `"John 2"` and `"John 10"`."""
    return [f"{token.strip()} {position}" for position, token in enumerate(str_tokens)]


def _check_counts(prompts: list[str], answers: list[tuple[str, str]]) -> None:
    if not prompts or len(prompts) % 2:
        raise PromptError(
            f"There are {len(prompts)} prompts, but they come in pairs that differ only in the second mention of the "
            "subject: pass an even number, the two of a pair next to each other."
        )
    if len(prompts) != len(answers):
        raise PromptError(
            f"There are {len(prompts)} prompts and {len(answers)} answer pairs: pass one (correct, incorrect) pair "
            "for each prompt."
        )
    for answer in [answer for pair in answers for answer in pair]:
        if not answer.startswith(" "):
            raise PromptError(f"The answer {answer!r} has no leading space: write it as {' ' + answer!r}.")


def refuse_unknown_words(model: TransformerBridge, prompts: list[str]) -> None:
    """Raise `PromptError` if a model whose vocabulary is a few hundred words does not know a word of the prompts."""
    if len(model.tokenizer) >= SMALL_VOCABULARY:
        return
    for prompt in prompts:
        for word in re.findall(r" ?\w+| ?[^\w\s]+", prompt):
            if len(model.to_tokens(word, prepend_bos=False)[0]) != 1:
                raise PromptError(
                    f"The model in use does not know {word.strip()!r} in {prompt!r}: use the words listed in "
                    "utils/ioi_mini/words.json, or load gpt2-small."
                )


def _fit_to_tokenizer(model: TransformerBridge) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the 8 prompts and their answers, changed where this tokenizer needs it; print once which are."""
    own = [name for pair in ANSWERS[::2] for name in pair]
    others = (f" {name}" for name in NAMES if f" {name}" not in own and _is_single_token(model, f" {name}"))
    names = {name: name if _is_single_token(model, name) else next(others, "") for name in own}
    if "" in names.values():
        raise PromptError(
            f"This model's tokenizer has too few of our {len(NAMES)} names as single tokens, and a logit difference "
            "compares single tokens: choose another model, or pass prompts and answers of your own."
        )
    prompts = [_rename(prompt, names) for prompt in PROMPTS]
    answers = [(names[correct], names[incorrect]) for correct, incorrect in ANSWERS]
    lengths = [len(model.to_tokens(prompt, prepend_bos=True)[0]) for prompt in prompts]
    usual = lengths.index(Counter(lengths).most_common(1)[0][0]) // 2 * 2  # the first prompt of a pair
    for row in range(len(prompts)):
        if lengths[row] != lengths[usual]:
            model_of_it = usual + row % 2
            prompts[row] = _rename(prompts[model_of_it], dict(zip(answers[model_of_it], answers[row], strict=True)))
    changed = [f"{row} ({prompt})" for row, prompt in enumerate(prompts) if prompt != PROMPTS[row]]
    note = f"Changed to suit this model's tokenizer: prompt {', '.join(changed)}."
    if changed and note not in _printed:
        _printed.add(note)
        print(note)
    return prompts, answers


_printed: set[str] = set()


def _rename(prompt: str, names: Mapping[str, str]) -> str:
    return re.sub("|".join(names), lambda found: names[found[0]], prompt)


def _is_single_token(model: TransformerBridge, name: str) -> bool:
    tokens = _tokens_in_place(model, name)
    return len(tokens) == 1 and int(tokens[0]) != model.tokenizer.unk_token_id


def _tokens_in_place(model: TransformerBridge, word: str) -> Int[Tensor, "token"]:
    """Return the tokens that a word adds to a prompt: alone, some tokenizers begin a word with a space of its own."""
    prompt, whole = (model.to_tokens(text, prepend_bos=True)[0] for text in (PROMPTS[0], PROMPTS[0] + word))
    return whole[len(prompt) :]


def single_token(model: TransformerBridge, word: str) -> int:
    """Return an answer's token; raise `PromptError` if it is several."""
    tokens = _tokens_in_place(model, word)
    if len(tokens) != 1:
        raise PromptError(
            f"The answer {word!r} is {len(tokens)} tokens for this model ({model.to_str_tokens(tokens)}), and a logit "
            "difference compares single tokens: choose a more common name."
        )
    return int(tokens[0])


def equally_long_tokens(model: TransformerBridge, prompts: list[str]) -> Int[Tensor, "batch pos"]:
    """Return prompts as tokens, each after the beginning-of-sequence token.

    Raises `PromptError` if their lengths differ, or are more than the model takes.
    """
    rows = [model.to_tokens(prompt, prepend_bos=True, truncate=False)[0] for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        if len(row) > model.cfg.n_ctx:
            raise PromptError(f"The model takes at most {model.cfg.n_ctx} tokens, and {shown(prompt)} has {len(row)}.")
        if len(row) != len(rows[0]):
            raise PromptError(
                f"Every prompt must have as many tokens as the first, because a patch goes from a position to the "
                f"same position: {prompts[0]!r} has {len(rows[0])} and {prompt!r} has {len(row)}."
            )
    return torch.stack(rows)


def _find_positions(
    clean_tokens: Int[Tensor, "batch pos"],
    corrupted_tokens: Int[Tensor, "batch pos"],
    answer_tokens: Int[Tensor, "batch 2"],
    prompts: list[str],
    answers: list[tuple[str, str]],
) -> dict[str, Int[Tensor, "batch"]]:
    found = []
    for row, (clean, corrupted) in enumerate(zip(clean_tokens.tolist(), corrupted_tokens.tolist(), strict=True)):
        correct, incorrect = answer_tokens[row].tolist()
        differing = [pos for pos, (a, b) in enumerate(zip(clean, corrupted, strict=True)) if a != b]
        subject_positions = [pos for pos, token in enumerate(clean) if token == incorrect]
        if len(differing) != 1 or subject_positions[1:] != differing or clean.count(correct) != 1:
            partner = prompts[row ^ 1]
            raise PromptError(
                f"{prompts[row]!r} and {partner!r} are not an IOI pair with the answers {answers[row]}: the incorrect "
                "answer must be the name that occurs twice, the correct one must occur once, and the two prompts must "
                "differ only in the second mention."
            )
        s1, s2 = subject_positions
        found.append((s1, s1 + 1, clean.index(correct), s2, len(clean) - 1))
    columns = torch.tensor(found, device=clean_tokens.device).unbind(1)
    return dict(zip(POSITIONS, columns, strict=True))
