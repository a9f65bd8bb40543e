"""Notebook 07: three experiments that refute a conclusion which looks right."""

import functools
from collections.abc import Callable, Collection
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from tests.checks.cases import VOCABULARY, SweepCase, one_thread, tiny_cases
from tests.checks.checking import (
    CheckFailed,
    call_with,
    describe,
    exercise_check,
    global_hints,
    is_plain_tensor,
    require_close,
    require_tensor,
)
from tests.checks.guards import hooks_left
from tests.checks.sweeps import hooks_left_over
from tests.test_07_testing_the_evidence import named_cause, require_scalar
from utils import load_ioi, model_in_use
from utils.circuit import Head, head_names
from utils.interventions import all_heads, cache_hooks

Tokens = Int[Tensor, "batch pos"]


@exercise_check
def test_added_cost(added_cost: Callable) -> None:
    """Check what ablating heads costs once others are ablated, on made-up logit differences that do not add up.

    Takes a fraction of a second.
    """
    for clean, heads, others in (
        (4.0, [(2, 1), (3, 0)], [(1, 1)]),
        (-2.5, [(0, 3)], [(5, 5), (0, 1), (7, 2)]),
        (8.0, [(3, 3), (3, 4), (6, 0)], []),
    ):
        _check_added_cost(added_cost, clean, heads, others)


def _check_added_cost(function: Callable, clean: float, heads: list[Head], others: list[Head]) -> None:
    def logit_diff_without(ablated: Collection[Head]) -> float:
        """Return `clean` without heads; the more are missing, the more each costs."""
        return clean * (1 - 0.03 * sum((1 + layer + head / 10) for layer, head in set(ablated)) ** 1.5 / 10)

    given = (list(heads), list(others))
    result = call_with(function, "added_cost", logit_diff_without=logit_diff_without, heads=given[0], others=given[1])
    checked = f"added_cost of {head_names(heads)} once {head_names(others) or 'no others'} are ablated"
    if given != (heads, others):
        raise CheckFailed(checked, "lists unchanged", "a list was changed", "make a new list: [*others, *heads]")
    actual = torch.as_tensor(_number(result, checked))
    before, after, alone = (logit_diff_without(ablated) for ablated in (others, [*others, *heads], heads))
    expected = torch.tensor((before - after) / clean)
    causes = {
        "this is what the heads cost alone: ablate the others in both runs": (clean - alone) / clean,
        "this is what all of them cost together: subtract what the others cost": (clean - after) / clean,
        "divide by the logit difference without any ablation": before - after,
        "the sign is flipped: before minus after": (after - before) / clean,
        "divide by the logit difference without any ablation, not by that without the others": (before - after)
        / before,
        "this is the share that is left, not the share that is lost": after / clean,
    }
    hint = functools.partial(
        named_cause, actual, {cause: torch.tensor(value) for cause, value in causes.items()}, expected
    )
    fallback = "(without the others - without the others and the heads) / without ablation"
    require_close(actual.float(), expected, "", checked, lambda: hint() or fallback)


def _number(result: object, checked: str) -> float:
    if is_plain_tensor(result) and not result.dim() and result.is_floating_point():
        return result.item()
    if isinstance(result, int | float) and not isinstance(result, bool):
        return float(result)
    raise CheckFailed(f"{checked} is a number", "a number", describe(result), "end with `return` and one number")


@exercise_check
def test_probability_change(probability_change: Callable) -> None:
    """Check by how much the correct answers' probability changes in a clean run with one corrupted head output.

    For every head of tiny random models, then for one head of the model in use. Takes less than a second on ioi-mini.
    """
    with one_thread():
        for seed, case in enumerate(tiny_cases()):
            random = torch.Generator().manual_seed(seed)
            answers = torch.stack([torch.randperm(VOCABULARY, generator=random)[:2] for _ in case.corrupted_tokens])
            assert case.clean_tokens is not None
            arguments = {
                "model": case.model,
                "clean_tokens": case.clean_tokens,
                "corrupted_cache": case.model.run_with_cache(case.corrupted_tokens)[1],
                "answer_tokens": answers,
            }
            for head in all_heads(case.model):
                _check_change(probability_change, arguments, head, case.description)
    model = model_in_use()
    data = load_ioi(model)
    arguments = {
        "model": model,
        "clean_tokens": data.clean_tokens,
        "corrupted_cache": model.run_with_cache(data.corrupted_tokens)[1],
        "answer_tokens": data.answer_tokens,
    }
    _check_change(probability_change, arguments, (model.cfg.n_layers - 1, 0), "on the 8 IOI prompts")


def _check_change(function: Callable, arguments: dict[str, Any], head: Head, where: str) -> None:
    checked = f"probability_change of {head_names([head])} {where}"
    with hooks_left(arguments["model"]) as left:
        result = call_with(function, "probability_change", **arguments, head=head)
    if left:
        raise hooks_left_over("probability_change", left)
    actual = require_scalar(result, checked, len(arguments["clean_tokens"]))
    before, after = (_end_logits(**arguments, heads=heads).detach().cpu() for heads in ([], [head]))
    answers = arguments["answer_tokens"].cpu()
    expected = _probability(after, answers) - _probability(before, answers)
    hint = functools.partial(_change_hint, function, actual, arguments, head, before, after)
    require_close(actual, expected, "", checked, hint)


def _end_logits(
    model: TransformerBridge,
    clean_tokens: Tokens,
    corrupted_cache: ActivationCache,
    answer_tokens: Int[Tensor, "batch 2"],
    heads: list[Head],
) -> Float[Tensor, "batch d_vocab"]:
    """Return the logits at END of a run of the tokens in which the outputs of the heads are those of the cache."""
    return _run_with_outputs(model, clean_tokens, [(head, corrupted_cache) for head in heads])[:, -1]


def _run_with_outputs(
    model: TransformerBridge, tokens: Tokens, outputs: list[tuple[Head, ActivationCache]]
) -> Float[Tensor, "batch pos d_vocab"]:
    """Return the logits of a run in which the outputs of heads are those of caches."""
    hooks = [hook for head, cache in outputs for hook in cache_hooks(cache, [head])]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def _probability(end_logits: Float[Tensor, "batch d_vocab"], answers: Int[Tensor, "batch 2"]) -> Float[Tensor, ""]:
    return end_logits.softmax(-1).gather(1, answers)[:, 0].mean()


def _change_hint(
    function: Callable, actual: Tensor, arguments: dict[str, Any], head: Head, before: Tensor, after: Tensor
) -> str:
    """Name the mistake that gives this number."""
    answers = arguments["answer_tokens"].cpu()
    probabilities = [_probability(end_logits, answers) for end_logits in (before, after)]
    changes = after.softmax(-1) - before.softmax(-1)
    layer, index = head
    cfg = arguments["model"].cfg
    causes = {
        "nothing is patched: give the hook to model.run_with_hooks": torch.zeros(()),
        "the sign is flipped: with the patch minus without it": probabilities[0] - probabilities[1],
        "subtract the probability without the patch": probabilities[1],
        "measure the correct answers, the first column of answer_tokens": changes.gather(1, answers)[:, 1].mean(),
        "measure the correct answers alone, not the difference of the two": _difference(changes, answers),
        "measure the probability, not its logarithm": _difference_of(after, before, answers, "log_softmax"),
        "measure the probability: the logits go through softmax": (after - before).gather(1, answers)[:, 0].mean(),
        "average over the prompts, do not sum": (probabilities[1] - probabilities[0]) * len(answers),
        "average over all prompts, not only one": changes.gather(1, answers)[0, 0],
    }
    if layer < cfg.n_heads and index < cfg.n_layers and layer != index:
        swapped = _end_logits(**arguments, heads=[(index, layer)]).detach().cpu()
        causes["the layer comes first in `head`"] = _probability(swapped, answers) - probabilities[0]
    whole = [(layer, each) for each in range(cfg.n_heads)]
    causes["patch this head alone, not the whole layer"] = (
        _probability(_end_logits(**arguments, heads=whole).detach().cpu(), answers) - probabilities[0]
    )
    found = named_cause(actual, causes, probabilities[1] - probabilities[0])
    fallback = "run the clean tokens, with this head's z from the corrupted cache, and compare with the run without it"
    return "; ".join([*global_hints(function), found or fallback])


def _difference(changes: Tensor, answers: Tensor) -> Tensor:
    correct, incorrect = changes.gather(1, answers).unbind(1)
    return (correct - incorrect).mean()


def _difference_of(after: Tensor, before: Tensor, answers: Tensor, function: str) -> Tensor:
    change = getattr(after, function)(-1) - getattr(before, function)(-1)
    return change.gather(1, answers)[:, 0].mean()


@exercise_check
def test_patch_with_frozen(patch_with_frozen: Callable) -> None:
    """Check the logits of a corrupted run in which one head is clean and others keep their corrupted outputs.

    On tiny random models, for frozen heads in the patched head's layer, before it and after it. Takes less than a
    second.
    """
    with one_thread():
        for case in tiny_cases():
            last = case.model.cfg.n_layers - 1
            for patched, frozen in (
                ((0, 1), [(last, 0), (last, 1)]),
                ((0, 0), [(0, 1), (1, 0)]),
                ((1, 0), [(0, 0), (1, 1)]),
                ((0, 1), []),
                ((0, 0), [head for head in all_heads(case.model) if head[0] > 0]),
            ):
                _check_frozen(patch_with_frozen, case, patched, frozen)


def _check_frozen(function: Callable, case: SweepCase, patched: Head, frozen: list[Head]) -> None:
    model, tokens, clean_cache, clean_tokens = case.model, case.corrupted_tokens, case.clean_cache, case.clean_tokens
    assert clean_tokens is not None
    name, given = "patch_with_frozen", list(frozen)
    checked = f"{name} of {head_names([patched])} with {head_names(frozen) or 'no head'} frozen, {case.description},"
    before = {key: tensor.clone() for key, tensor in clean_cache.cache_dict.items()}
    with hooks_left(model) as left:
        result = call_with(
            function,
            name,
            model=model,
            corrupted_tokens=tokens.clone(),
            clean_cache=clean_cache,
            patched=patched,
            frozen=given,
        )
    if left:
        raise hooks_left_over(name, left)
    if given != frozen or any(not torch.equal(clean_cache[key], tensor) for key, tensor in before.items()):
        raise CheckFailed(checked, "the arguments unchanged", "an argument was changed", "work on a copy: .clone()")
    _, corrupted_cache = model.run_with_cache(tokens)
    held = [(head, corrupted_cache) for head in frozen]
    expected = _run_with_outputs(model, tokens, [(patched, clean_cache), *held])
    hint = "return the logits that model.run_with_hooks returns"
    actual = require_tensor(result, tuple(expected.shape), expected.dtype, f"{checked} returns logits", hint)
    run = functools.partial(_run_with_outputs, model, tokens)
    causes = {
        "nothing is frozen: the frozen heads still react to the patch": lambda: run([(patched, clean_cache)]),
        "nothing is patched": lambda: run(held),
        "the frozen heads keep their outputs of the corrupted run, not of the clean one": lambda: run(
            [(head, clean_cache) for head in [patched, *frozen]]
        ),
        "the patched head is clean and the frozen ones are corrupted, not the other way round": lambda: run(
            [(patched, corrupted_cache), *((head, clean_cache) for head in frozen)]
        ),
        "run the corrupted tokens, not the clean ones": lambda: _run_with_outputs(
            model, clean_tokens, [(patched, clean_cache), *held]
        ),
        "freeze every head of the list, not the last one only: bind each head to its hook": lambda: run(
            [(patched, clean_cache), *held[-1:]]
        ),
        "freeze every head of the list, not the first one only": lambda: run([(patched, clean_cache), *held[:1]]),
    }

    def explain() -> str:
        found = named_cause(actual, {cause: make() for cause, make in causes.items()}, expected)
        fallback = "z of the patched head from clean_cache, z of each frozen head from a run of the corrupted tokens"
        return "; ".join([*global_hints(function), found or fallback])

    require_close(actual, expected, "batch pos d_vocab", checked, explain)
