"""Notebook 06: path patching, ablation by means, exchanged names and self-repair."""

import contextlib
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tests.checks import mistakes
from tests.checks.cases import VOCABULARY, SweepCase, one_thread, tiny_cases
from tests.checks.checking import (
    CheckFailed,
    call_with,
    changed_tensors,
    describe,
    exercise_check,
    global_hints,
    is_plain_tensor,
    require_close,
    require_tensor,
    shape_hint,
)
from tests.checks.guards import hooks_left
from tests.checks.mistakes import Logits, Mistakes
from tests.checks.sweeps import hooks_left_over
from utils.circuit import Head, head_names
from utils.interventions import mean_ablate, mean_outputs, path_patch
from utils.references import TOLERANCE

SENDERS_AND_RECEIVERS: tuple[list[tuple[list[Head], list[Head]]], ...] = (
    [([(0, 1)], [(1, 2)])],
    [([(0, 1)], [(3, 0)]), ([(0, 0), (1, 1), (1, 0)], [(3, 1), (2, 0)])],
)
"""For each of the tiny cases. From layer 0 to layer 3 other heads lie between."""
ABLATED: tuple[list[list[Head]], ...] = ([[(0, 1)], [(1, 0), (0, 2), (1, 2)]], [[(3, 1), (0, 0), (2, 1), (2, 0)], []])
REPAIRS: tuple[list[tuple[Head, list[Head]]], ...] = (
    [((0, 1), [(1, 0), (1, 2)])],
    [((1, 0), [(3, 1)]), ((0, 1), [(2, 0), (3, 0)])],
)
"""The ablated head and the negative ones."""


@exercise_check
def test_path_patch(path_patch: Callable) -> None:
    """Check path patching on tiny random models, for single and several senders and receivers, into q, k and v.

    Takes a fraction of a second.
    """
    with one_thread():
        for case, paths in zip(tiny_cases(), SENDERS_AND_RECEIVERS, strict=True):
            for (senders, receivers), component in product(paths, "qkv"):
                _check_path(path_patch, case, senders, receivers, component)


@exercise_check
def test_mean_ablate(mean_ablate: Callable) -> None:
    """Check the ablation of heads on tiny random models, by means of other prompts than the run's.

    Takes a fraction of a second.
    """
    with one_thread():
        for case, lists in zip(tiny_cases(), ABLATED, strict=True):
            for heads in lists:
                _check_ablation(mean_ablate, case, heads)


@exercise_check
def test_exchange_names(exchange_names: Callable) -> None:
    """Check that two tokens of each prompt change places and nothing else does, on random tokens."""
    random = torch.Generator().manual_seed(0)
    for batch, positions in ((3, 5), (5, 8)):
        tokens = torch.randint(VOCABULARY, (batch, positions), generator=random)
        first, second, third = torch.stack([torch.randperm(positions, generator=random)[:3] for _ in range(batch)]).T
        tokens[range(batch), third] = tokens[range(batch), first]  # the repeated name
        _check_exchange(exchange_names, tokens, first, second)


@exercise_check
def test_self_repair(self_repair: Callable) -> None:
    """Check by how much later heads raise a metric after an ablation, on tiny random models with negative heads given.

    Takes a fraction of a second.
    """
    with one_thread():
        for case, repairs in zip(tiny_cases(), REPAIRS, strict=True):
            for ablated, negative in repairs:
                _check_repair(self_repair, case, ablated, negative)


def _check_path(
    function: Callable, case: SweepCase, senders: list[Head], receivers: list[Head], component: str
) -> None:
    arguments: dict[str, Any] = {
        "model": case.model,
        "corrupted_tokens": case.corrupted_tokens,
        "clean_cache": case.clean_cache,
        "senders": senders,
        "receivers": receivers,
        "component": component,
    }
    checked = f'path_patch from {head_names(senders)} to "{component}" of {head_names(receivers)} {case.description}'
    _check_logits(
        function,
        "path_patch",
        arguments,
        path_patch(**arguments),
        checked,
        mistakes.on_a_path(case, senders, receivers, component),
        "first run: every head's z is the corrupted one, the senders' the clean one, and the receivers' input is "
        "recorded; second run: the corrupted one with that input replaced",
    )


def _check_ablation(function: Callable, case: SweepCase, heads: list[Head]) -> None:
    means = torch.stack([case.clean_cache["z", layer].mean(0) for layer in range(case.model.cfg.n_layers)])
    arguments: dict[str, Any] = {"model": case.model, "tokens": case.corrupted_tokens, "means": means, "heads": heads}
    _check_logits(
        function,
        "mean_ablate",
        arguments,
        mean_ablate(**arguments),
        f"mean_ablate of {head_names(heads) or 'no head'} {case.description}",
        mistakes.of_ablation(**arguments),
        "the output z of each of the heads is means[layer, :, head] in every prompt, and of no other head",
    )


def _check_exchange(
    function: Callable, tokens: Int[Tensor, "batch pos"], first: Int[Tensor, "batch"], second: Int[Tensor, "batch"]
) -> None:
    expected = tokens.clone()
    for prompt, a, b in zip(expected, first.tolist(), second.tolist(), strict=True):
        prompt[a], prompt[b] = int(prompt[b]), int(prompt[a])
    arguments = {"tokens": tokens, "first": first, "second": second}
    checked = "exchange_names exchanges the tokens at first[i] and second[i] in prompt i and leaves all others"
    result = _call(function, "exchange_names", arguments)
    shape, of_variable = tuple(tokens.shape), "".join(global_hints(function))
    hint = of_variable or shape_hint(result, shape, "batch pos") or "return the whole prompts"
    actual = require_tensor(result, shape, tokens.dtype, checked, hint)
    if not torch.equal(actual, expected):
        row = int((actual != expected).any(1).int().argmax())
        places = f"prompt {row}, first {int(first[row])}, second {int(second[row])}, {tokens[row].tolist()} becomes"
        raise CheckFailed(
            checked,
            f"{places} {expected[row].tolist()}",
            f"{actual[row].tolist()}",
            of_variable or mistakes.exchange_hint(actual, tokens, first, second),
        )


def _check_repair(function: Callable, case: SweepCase, ablated: Head, negative: list[Head]) -> None:
    means = mean_outputs(case.model, case.corrupted_tokens)
    tokens, metric = case.clean_tokens, case.patching_metric
    assert tokens is not None  # a tiny case has them
    repair = mistakes.Repair(case.model, tokens, case.clean_cache, means, ablated, negative, metric)
    expected = repair.parts.cpu()
    checked = f"self_repair of {head_names([ablated])} with {head_names(negative)} as negative heads {case.description}"
    actual = _pair(_call(function, "self_repair", vars(repair)), checked)

    def hint() -> str:
        found = (text for text, other in mistakes.of_repair(repair) if torch.allclose(actual, other, **TOLERANCE))
        return "".join(global_hints(function)) or next(
            found,
            "each part is a difference of two runs with the head ablated: all later heads frozen, the negative ones "
            "frozen, none frozen; frozen heads have their outputs in clean_cache",
        )

    require_close(actual, expected, "component", checked, hint, ["the other heads' part", "the negative heads' part"])


def _pair(result: object, checked: str) -> Float[Tensor, "2"]:
    """Return the two numbers of a result; raise `CheckFailed` where there are not two."""
    values = result.tolist() if is_plain_tensor(result) and result.shape == (2,) else result
    if isinstance(values, tuple | list) and len(values) == 2:
        numbers = [value.item() if is_plain_tensor(value) and value.shape == () else value for value in values]
        if all(type(number) is float for number in numbers):
            return torch.tensor(numbers)
    hint = "return the others' part and the negative heads' part, each one number, not one for each prompt"
    raise CheckFailed(checked, "two numbers", describe(result), hint)


def _check_logits(
    function: Callable, name: str, arguments: dict, expected: Logits, checked: str, usual: Mistakes, hint: str
) -> None:
    """Call the learner's function, and compare its logits; where they differ, name the mistake that gives them."""
    result = _call(function, name, arguments)
    shape = tuple(expected.shape)
    of_shape = "".join(global_hints(function)) or shape_hint(result, shape, "batch pos d_vocab") or "return the logits"
    actual = require_tensor(result, shape, expected.dtype, f"{checked} returns logits, [batch pos d_vocab]", of_shape)

    def cause() -> str:
        found = (text for text, other in usual if torch.allclose(actual, other.cpu(), **TOLERANCE))
        return "".join(global_hints(function)) or next(found, hint)

    require_close(actual, expected.cpu(), "prompt pos token", checked, cause)


def _call(function: Callable, name: str, arguments: dict) -> object:
    """Call the learner's function; raise `CheckFailed` if it changes a tensor or leaves a hook on the model."""
    cache = arguments["clean_cache"].cache_dict if "clean_cache" in arguments else {}
    tensors = {key: value for key, value in arguments.items() if isinstance(value, Tensor)} | cache
    before = {key: tensor.clone() for key, tensor in tensors.items()}
    with contextlib.ExitStack() as stack:
        left = stack.enter_context(hooks_left(arguments["model"])) if "model" in arguments else []
        result = call_with(function, name, **{key: _copied(value) for key, value in arguments.items()})
    if left:
        raise hooks_left_over(name, left)
    if changed := changed_tensors(tensors, before):
        what = f"clean_cache at {changed[0]}" if changed[0] in cache else changed[0]
        hint = "work on a copy: tensor.clone() makes one"
        raise CheckFailed(f"{name} leaves its arguments as they were", "unchanged", f"{what} was changed", hint)
    return result


def _copied(value: object) -> object:
    return list(value) if isinstance(value, list) else value
