"""Notebook 01: the metric."""

from collections.abc import Callable

import torch
from torch import Tensor

from tests.checks.checking import (
    CheckFailed,
    call,
    call_with,
    changed_tensors,
    exercise_check,
    is_plain_tensor,
    require_close,
    require_tensor,
    shape_hint,
    two_texts,
)
from utils import load_ioi, logits_to_ave_logit_diff, model_in_use


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
        hint = _hint(actual, logits, answer_tokens, corrupted_logit_diff, clean_logit_diff)
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
        require_close(actual, torch.tensor((logit_diff + 1) / 4), "", checked, hint)


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


def _hint(
    actual: Tensor, logits: Tensor, answer_tokens: Tensor, corrupted_logit_diff: float, clean_logit_diff: float
) -> str:
    """Return a hint for the usual mistake that gives this number."""
    per_prompt = logits_to_ave_logit_diff(logits, answer_tokens, per_prompt=True)
    logit_diff, gap = per_prompt.mean(), clean_logit_diff - corrupted_logit_diff
    at_first_position = logits_to_ave_logit_diff(logits[:, :1], answer_tokens)
    probability_diff = logits_to_ave_logit_diff(logits.softmax(dim=-1), answer_tokens)
    causes = {
        "this is the logit difference itself: move and scale it to 0 (corrupted) and 1 (clean)": logit_diff,
        "the sign is flipped: correct minus incorrect, and clean minus corrupted": (corrupted_logit_diff - logit_diff)
        / gap,
        "0 and 1 are swapped: 0 belongs to the corrupted run": (clean_logit_diff - logit_diff) / gap,
        "subtract corrupted_logit_diff from the logit difference too": logit_diff / gap,
        "divide by clean_logit_diff - corrupted_logit_diff": (logit_diff - corrupted_logit_diff) / clean_logit_diff,
        "read the logits at END, the last position": (at_first_position - corrupted_logit_diff) / gap,
        "average over the prompts, do not sum": (per_prompt.sum() - corrupted_logit_diff) / gap,
        "average over all prompts, not only one": (per_prompt[0] - corrupted_logit_diff) / gap,
        "use logits, not probabilities": (probability_diff - corrupted_logit_diff) / gap,
    }
    for hint, value in causes.items():
        if torch.isclose(actual, value, atol=1e-5):
            return hint
    return "use every argument: the metric is linear in the logit difference of these logits and these answers"
