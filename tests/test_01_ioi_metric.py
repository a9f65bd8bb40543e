"""Notebook 01: the metric."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.checks.checking import (
    CheckFailed,
    call,
    call_with,
    changed_tensors,
    exercise_check,
    global_hints,
    is_plain_tensor,
    require_close,
    require_tensor,
    shape_hint,
    two_texts,
)
from utils import load_ioi, logits_to_ave_logit_diff, model_in_use

LINEAR = "the metric is linear in the logit difference of these logits and these answers"


def _at_end(logits: Tensor, answer_tokens: Tensor) -> Tensor:
    """Return the logits of the correct and the incorrect answers at END, `[batch 2]`."""
    return logits[:, -1].gather(1, answer_tokens)


def _per_prompt(logits: Tensor, answer_tokens: Tensor) -> Tensor:
    return logits_to_ave_logit_diff(logits, answer_tokens, per_prompt=True)


OTHER_DIFFERENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "read the logits at END, the last position": lambda logits, answers: _per_prompt(logits[:, :1], answers).mean(),
    "average over the prompts, do not sum": lambda logits, answers: _per_prompt(logits, answers).sum(),
    "average over all prompts, not only one": lambda logits, answers: _per_prompt(logits, answers)[0],
    "use logits, not probabilities": lambda logits, answers: _per_prompt(logits.softmax(dim=-1), answers).mean(),
    "read the logits at END alone, not their average over the positions": (
        lambda logits, answers: _per_prompt(logits.mean(dim=1, keepdim=True), answers).mean()
    ),
    "subtract the logits of the incorrect answers": lambda logits, answers: _at_end(logits, answers)[:, 0].mean(),
    "correct minus incorrect, not incorrect minus correct": lambda logits, answers: (
        -_per_prompt(logits, answers).mean()
    ),
    "subtract correct and incorrect, do not add them": lambda logits, answers: _at_end(logits, answers).sum(1).mean(),
    "subtract the two answers, do not average over them": lambda logits, answers: _at_end(logits, answers).mean(),
    "logits[:, -1, tokens] takes the tokens of all prompts from each prompt: pair them with torch.arange": (
        lambda logits, answers: (logits[:, -1][:, answers[:, 0]] - logits[:, -1][:, answers[:, 1]]).mean()
    ),
    "each prompt has its own answers: these are those of prompt 0": (
        lambda logits, answers: _per_prompt(logits, answers[:1].expand_as(answers)).mean()
    ),
    "take no absolute value of a difference": lambda logits, answers: _per_prompt(logits, answers).abs().mean(),
    "take the mean over the prompts, not the median": lambda logits, answers: _per_prompt(logits, answers).median(),
    "the share of prompts answered right is not linear in the logit difference": (
        lambda logits, answers: (_per_prompt(logits, answers) > 0).float().mean()
    ),
}
"""What may be computed in place of the logit difference, by the hint that names it."""


@exercise_check
def test_ioi_metric(ioi_metric: Callable) -> None:
    """Check `ioi_metric`: 0 on the corrupted run, 1 on the clean run, linear in the logit difference.

    Compares it with its definition on random logits, within the default tolerances of `torch.testing.assert_close`,
    and on the clean and corrupted runs of the model in use, within 1e-4. Raises `CheckFailed` with a hint, and
    `NotImplementedYet` for the stub. Takes about a second on ioi-mini.
    """
    check_metric_on_random_logits(ioi_metric, seed=0)
    model = model_in_use()
    data = load_ioi(model)
    clean_logits, corrupted_logits = model(data.clean_tokens), model(data.corrupted_tokens)
    _check_on_runs(ioi_metric, "clean logits", clean_logits, 1.0)
    _check_on_runs(ioi_metric, "corrupted logits", corrupted_logits, 0.0)
    _check_on_runs(ioi_metric, "mean of clean and corrupted logits", (clean_logits + corrupted_logits) / 2, 0.5)


def check_metric_on_random_logits(ioi_metric: Callable, seed: int) -> None:
    """Compare the metric with its definition on random logits and answers of distinct sizes. Raises `CheckFailed`."""
    _compare_with_definition(ioi_metric, seed)
    check_known_differences(ioi_metric, seed)


def _compare_with_definition(ioi_metric: Callable, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for batch, positions, d_vocab in ((3, 5, 11), (1, 4, 7), (6, 2, 13)):
        logits = torch.randn(batch, positions, d_vocab, generator=random, dtype=torch.float32)
        answer_tokens = torch.stack([torch.randperm(d_vocab, generator=random)[:2] for _ in range(batch)])
        corrupted_logit_diff, clean_logit_diff = -1.25 - batch, 0.75 * positions
        tensors = {"logits": logits, "answer_tokens": answer_tokens}
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        result = call_with(
            ioi_metric,
            "ioi_metric",
            **tensors,
            corrupted_logit_diff=corrupted_logit_diff,
            clean_logit_diff=clean_logit_diff,
        )
        checked = f"ioi_metric on random logits of shape [{batch} {positions} {d_vocab}], with all four arguments"
        actual = _require_scalar(result, checked, batch)
        changed = changed_tensors(tensors, before)
        if changed:
            raise CheckFailed(checked, "the arguments unchanged", f"{changed[0]} was changed", "work on a copy")
        logit_diff = logits_to_ave_logit_diff(logits, answer_tokens)
        expected = (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
        differences = {"corrupted_logit_diff": corrupted_logit_diff, "clean_logit_diff": clean_logit_diff}
        hint = functools.partial(_hints, ioi_metric, actual, {**tensors, **differences})
        require_close(actual, expected, "", checked, hint)


def check_known_differences(ioi_metric: Callable, seed: int) -> None:
    """Check the metric on logits constructed to have known differences, without a helper that computes them."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 5, 11, generator=random, dtype=torch.float32)
    answers = torch.stack([torch.randperm(11, generator=random)[:2] for _ in range(3)])
    prompts = torch.arange(3)
    # All of one sign, and the first is their mean, so that each of the cases below can fail alone.
    differences = torch.tensor([2.0, 1.0, 3.0])
    logits[prompts, -1, answers[:, 0]] = logits[prompts, -1, answers[:, 1]] + differences
    cases = {
        "differences 2, 1 and 3": (logits, answers, 2.0, "average correct minus incorrect over the prompts"),
        "the prompts in another order": (logits.flip(0), answers.flip(0), 2.0, "give every prompt the same weight"),
        "logits ten times as large": (
            10 * logits,
            answers,
            20.0,
            "the metric is linear in the logit difference, beyond 0 and 1 too",
        ),
        "correct and incorrect swapped": (logits, answers.flip(1), -2.0, "correct minus incorrect, with its sign"),
    }
    for which, (case_logits, case_answers, logit_diff, hint) in cases.items():
        checked = f"ioi_metric on three prompts, {which}"
        result = call_with(
            ioi_metric,
            "ioi_metric",
            logits=case_logits.clone(),
            answer_tokens=case_answers.clone(),
            corrupted_logit_diff=-1.0,
            clean_logit_diff=3.0,
        )
        actual = _require_scalar(result, checked, len(prompts))
        found = _hint(actual, case_logits, case_answers, -1.0, 3.0)
        require_close(actual, torch.tensor((logit_diff + 1) / 4), "", checked, found or hint)


def _require_scalar(result: object, checked: str, n_prompts: int) -> Tensor:
    if isinstance(result, int | float):
        hint = "return the tensor, not a Python number: remove .item() and float()"
    elif not is_plain_tensor(result):
        hint = shape_hint(result, (), "")
    elif result.shape == (n_prompts,) and n_prompts > 1:
        hint = "this is one number for each prompt: return their .mean()"
    else:
        hint = "average over the prompts, and return no other axis"
    return require_tensor(result, (), torch.float32, f"{checked}, returns a 0-dimensional tensor", hint)


def _check_on_runs(ioi_metric: Callable, which: str, logits: Tensor, expected: float) -> None:
    result = call(ioi_metric, "ioi_metric", logits)
    checked = f"ioi_metric({which}), the other arguments at their defaults"
    actual = _require_scalar(result, checked, len(logits))
    # Exact in the reals; in float32 the difference of two logits near 15 keeps about six digits.
    if not abs(actual.item() - expected) <= 1e-4:  # "not <=" refuses NaN too
        raise CheckFailed(
            checked,
            f"{expected}",
            two_texts(expected, actual.item())[1],
            "the defaults must be the notebook's answer_tokens, corrupted_logit_diff and clean_logit_diff",
        )


def _hints(ioi_metric: Callable, actual: Tensor, arguments: dict[str, Any]) -> str:
    """Name the notebook's variable that is used, if any, and the mistake."""
    found = _hint(actual, **arguments) or _unused_argument(ioi_metric, actual, arguments) or LINEAR
    return "; ".join([*global_hints(ioi_metric), found])


def _hint(
    actual: Tensor, logits: Tensor, answer_tokens: Tensor, corrupted_logit_diff: float, clean_logit_diff: float
) -> str:
    """Name the mistake that gives this number: another logit difference, or another function of the right one."""
    corrupted, clean, gap = corrupted_logit_diff, clean_logit_diff, clean_logit_diff - corrupted_logit_diff
    right = logits_to_ave_logit_diff(logits, answer_tokens)
    metric = (right - corrupted) / gap
    others = {hint: make(logits, answer_tokens) for hint, make in OTHER_DIFFERENCES.items()}
    causes = {
        # First, for of a negative metric the absolute value has the flipped sign.
        "the metric is linear: take no absolute value": metric.abs(),
        "the metric is linear: do not clamp it to 0 and 1": metric.clamp(0, 1),
        "this is the logit difference itself: move and scale it to 0 (corrupted) and 1 (clean)": right,
        "the sign is flipped: correct minus incorrect, and clean minus corrupted": -metric,
        "0 and 1 are swapped: 0 belongs to the corrupted run": (clean - right) / gap,
        "subtract corrupted_logit_diff from the logit difference too": right / gap,
        "subtract corrupted_logit_diff, and divide by clean_logit_diff - corrupted_logit_diff": right / clean,
        "divide by clean_logit_diff - corrupted_logit_diff": (right - corrupted) / clean,
        "divide by clean_logit_diff - corrupted_logit_diff, not by corrupted_logit_diff": (right - corrupted)
        / corrupted,
        "divide by clean_logit_diff - corrupted_logit_diff, not by their sum": (right - corrupted)
        / (clean + corrupted),
        "divide by the difference, clean_logit_diff - corrupted_logit_diff": right - corrupted,
        "subtract corrupted_logit_diff, not clean_logit_diff": (right - clean) / gap,
        "subtract corrupted_logit_diff, do not add it": (right + corrupted) / gap,
        "put the numerator in parentheses: subtract before dividing": right - corrupted / gap,
        "put numerator and denominator in parentheses": right - corrupted / clean - corrupted,
        "put the denominator in parentheses": (right - corrupted) / clean - corrupted,
        "the result is 1 for the clean run, not 100": 100 * metric,
        "use corrupted_logit_diff: it need not be minus clean_logit_diff": (right + clean) / (2 * clean),
        **{hint: (other - corrupted) / gap for hint, other in others.items()},
        **{f"move and scale it to 0 and 1; and {hint}": other for hint, other in others.items()},
    }
    close = functools.partial(torch.isclose, atol=1e-5)
    return next((hint for hint, value in causes.items() if close(actual, value) and not close(value, metric)), "")


def _unused_argument(function: Callable, actual: Tensor, arguments: dict[str, Any]) -> str:
    """Name an argument that the result does not change with, tried out with another value of it."""
    for name, value in arguments.items():
        other = value.flip(0 if name == "logits" else 1) if isinstance(value, Tensor) else value + 0.5
        with contextlib.suppress(CheckFailed):
            result = call_with(function, "ioi_metric", **(arguments | {name: other}))
            if is_plain_tensor(result) and torch.equal(result.detach().cpu(), actual):
                return f"the result does not change with the argument {name}: use every argument"
    return ""
