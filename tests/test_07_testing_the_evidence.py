"""Notebook 07: other metrics and other corruptions."""

import functools
import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from tests.checks.checking import (
    SHOWN,
    CheckFailed,
    NotImplementedYet,
    call_with,
    changed_tensors,
    describe,
    exercise_check,
    global_hints,
    require_close,
    require_tensor,
    shape_hint,
    variable_check,
)
from utils import claim_heads, corruption_maps, load_ioi, model_in_use

LEAST = 0.05
"""The share of the logit difference from which on a head works for the answer, or against it."""


@exercise_check
def test_kl_to_clean(kl_to_clean: Callable) -> None:
    """Check the KL divergence of the prediction at END from the clean run's, averaged over the prompts.

    On random logits. Takes a fraction of a second.
    """
    random = torch.Generator().manual_seed(0)
    for batch, positions, d_vocab in ((3, 5, 11), (6, 2, 13), (4, 4, 7)):
        logits, clean_logits = 2 * torch.randn(2, batch, positions, d_vocab, generator=random)
        where = f"random logits of shape [{batch} {positions} {d_vocab}]"
        actual = _kl_of(kl_to_clean, logits, clean_logits, where)
        hint = functools.partial(_kl_hint, kl_to_clean, actual, logits, clean_logits)
        require_close(actual, _kl(logits[:, -1], clean_logits[:, -1]).mean(), "", f"kl_to_clean on {where}", hint)


def _kl(logits: Float[Tensor, "*axes d_vocab"], clean_logits: Float[Tensor, "*axes d_vocab"]) -> Float[Tensor, "*axes"]:
    """Return the divergence for each prompt and position."""
    log_p, log_clean = log_softmax(logits, dim=-1), log_softmax(clean_logits, dim=-1)
    return (log_clean.exp() * (log_clean - log_p)).sum(-1)


def _kl_of(kl_to_clean: Callable, logits: Tensor, clean_logits: Tensor, where: str) -> Tensor:
    tensors = {"logits": logits, "clean_logits": clean_logits}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    result = call_with(kl_to_clean, "kl_to_clean", **tensors)
    if changed := changed_tensors(tensors, before):
        raise CheckFailed(
            f"kl_to_clean on {where}", "the arguments unchanged", f"{changed[0]} was changed", "work on a copy"
        )
    return require_scalar(result, f"kl_to_clean on {where}", len(logits))


def require_scalar(result: object, checked: str, n_prompts: int) -> Tensor:
    """Return the result if it is a 0-dimensional tensor, and raise `CheckFailed` otherwise."""
    hint = "average over the prompts, and return no other axis"
    if isinstance(result, int | float):
        hint = "return the tensor, not a Python number: remove .item() and float()"
    elif other := shape_hint(result, (), ""):
        hint = other
    elif isinstance(result, Tensor) and result.shape == (n_prompts,):
        hint = "this is one number for each prompt: return their .mean()"
    return require_tensor(result, (), torch.float32, f"{checked} returns a 0-dimensional tensor", hint)


def _kl_hint(function: Callable, actual: Tensor, logits: Tensor, clean_logits: Tensor) -> str:
    """Name the mistake that gives this number."""
    end, clean_end = logits[:, -1], clean_logits[:, -1]
    p, clean, right = end.softmax(-1), clean_end.softmax(-1), _kl(end, clean_end)
    sums = {
        "this is the other direction: weight the logarithms by the probabilities of the clean run": _kl(clean_end, end),
        "average over the prompts, do not sum": right * len(right),
        "sum over the vocabulary, and average over the prompts only": right / logits.shape[-1],
        "the sign is flipped: clean minus patched": -right,
        "read the prediction at END, the last position, not at all positions": _kl(logits, clean_logits),
        "read the prediction at END, the last position": _kl(logits, clean_logits)[:, 0],
        "subtract log-probabilities, not probabilities": (clean * (clean - p)).sum(-1),
        "subtract log-probabilities: a logit is one only after log_softmax": (clean * (clean_end - end)).sum(-1),
        "kl_div's first argument are the log-probabilities of the patched run": (clean * (clean.log() - p)).sum(-1),
        "this is the cross-entropy: subtract what it is for the clean run itself": -(clean * p.log()).sum(-1),
        "the softmax goes over the vocabulary, the last axis": _kl(end.T, clean_end.T) * logits.shape[-1] / len(right),
        "weight the difference by the clean run's probabilities": (clean.log() - p.log()).sum(-1),
        "in nats: with the natural logarithm": right / math.log(2),
        "average over all prompts, not only one": right[:1],
    }
    found = named_cause(actual, {hint: each.mean() for hint, each in sums.items()}, right.mean())
    fallback = "the sum over the vocabulary of p_clean (log p_clean - log p), both at END, averaged over the prompts"
    return "; ".join([*global_hints(function), found or fallback])


def named_cause(actual: Tensor, causes: Mapping[str, Tensor], right: Tensor) -> str:
    """Return the hint of the first mistake that gives this result and not the right one; empty where none does."""
    close = functools.partial(torch.isclose, atol=1e-5)
    return next(
        (
            hint
            for hint, value in causes.items()
            if value.shape == actual.shape and close(actual, value).all() and not close(value, right).all()
        ),
        "",
    )


@variable_check
def test_surviving_claims(surviving_claims: object) -> None:
    """Check which of the claims A to F hold under all five corruptions, measured on the model in use.

    `surviving_claims` is a list of letters. On another model than gpt2-small and ioi-mini the claims are about its own
    strongest heads. Takes as long as five sweeps over heads: a second or two on ioi-mini.
    """
    if surviving_claims is ...:
        raise NotImplementedYet("surviving_claims")
    letters = _read_letters(surviving_claims)
    model = model_in_use()
    model.reset_hooks(including_permanent=True)  # those of an earlier exercise
    counterexamples = find_counterexamples(corruption_maps(model, load_ioi(model)))
    wrong = [f"{letter} fails: {counterexamples[letter][0]}" for letter in sorted(letters) if counterexamples[letter]]
    missing = [letter for letter, found in counterexamples.items() if not found and letter not in letters]
    if wrong or missing:
        parts = wrong[:SHOWN]
        if missing:
            verb = "holds everywhere is" if len(missing) == 1 else "hold everywhere are"
            parts.append(f"{len(missing)} that {verb} missing")
        raise CheckFailed(
            "surviving_claims lists the claims that hold under all five corruptions",
            "each claim without a counterexample in the five maps, and no other",
            "; ".join(parts),
            "read one claim at a time, in each row of the table under the maps",
        )


def _read_letters(surviving_claims: object) -> set[str]:
    """Return the letters listed. Raises `CheckFailed` where it is not a list of letters from A to F."""
    is_list = isinstance(surviving_claims, list | tuple | set)
    if not is_list or any(not isinstance(letter, str) or letter not in {*"ABCDEF"} for letter in surviving_claims):  # type: ignore[attr-defined]
        raise CheckFailed(
            "surviving_claims is a list of letters from A to F",
            'such as ["B", "D"], or [] if none holds',
            describe(surviving_claims),
            "write each letter in quotation marks, with commas between them",
        )
    return set(surviving_claims)  # type: ignore[call-overload]


def find_counterexamples(maps: Mapping[str, Float[Tensor, "layer head"]]) -> dict[str, list[str]]:
    """Return, for each claim, the corruptions under which it fails, with the number that says so."""
    holds: dict[str, Callable[[Tensor, float], bool]] = {
        **dict.fromkeys("ABC", lambda _, effect: effect >= LEAST),
        "D": lambda _, effect: effect < LEAST,
        "E": lambda _, effect: abs(effect) < LEAST,
        "F": lambda effects, effect: effect <= -LEAST and effect == effects.min().item(),
    }
    heads = claim_heads(maps)
    return {
        letter: [
            f"under {name}, {heads[letter][0]}.{heads[letter][1]} has {effects[heads[letter]]:z.2f}"
            for name, effects in maps.items()
            if not claim(effects, effects[heads[letter]].item())
        ]
        for letter, claim in holds.items()
    }
