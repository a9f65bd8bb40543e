"""What the checks ask beside equality with a reference: for each demand, an answer that nothing else refuses."""

from collections import Counter, defaultdict

import pytest
import torch

import tests
import utils
from selftests.own_sweeps import (
    BLOCK_EVERY,
    HEAD_EVERY,
    HEAD_OUT,
    RESID_PRE,
    from_index_on,
    half,
    neighbour,
    noise,
    nothing,
    one_to_the_left,
    patch_slice,
    refusal,
    sweep_with,
    the_last_too,
)
from tests import test_01_ioi_metric
from tests.checks import hooks, sweeps
from tests.exercises import EXERCISE_SWEEPS

SHARED_MISTAKES = [
    (RESID_PRE, from_index_on, None, "it moves at resid_pre layer 0 pos 0"),
    (RESID_PRE, one_to_the_left, None, "it moves at resid_pre layer 0 pos 2"),
    (RESID_PRE, nothing, None, "it moves nowhere"),
    (RESID_PRE, noise, None, "where nothing differs the patch changes nothing"),
    (RESID_PRE, half, None, "a patch at position 2 makes the run the clean one"),
    (RESID_PRE, the_last_too, None, "before that position"),
    (BLOCK_EVERY, patch_slice, ("resid_pre", "mlp_out", "attn_out"), "the metric moves there"),
    (BLOCK_EVERY, half, None, "a patch at position 2 makes the run the clean one"),
    (BLOCK_EVERY, the_last_too, None, "before that position"),
    (HEAD_OUT, neighbour, None, "it moves at z layer 0 head 0"),
    (HEAD_OUT, noise, None, "where nothing differs the patch changes nothing"),
    (HEAD_EVERY, patch_slice, ("z", "q", "v", "k", "pattern"), "the metric moves there"),
    (HEAD_EVERY, neighbour, None, "the metric moves there"),
]


@pytest.mark.parametrize(("name", "patch", "order", "words"), SHARED_MISTAKES)
def test_a_mistake_that_the_reference_shares_is_refused(name, patch, order, words, monkeypatch):
    wrong = sweep_with(name, patch, order)
    monkeypatch.setattr(
        sweeps,
        "_reference",
        lambda spec, case: wrong(**case.arguments),
    )

    def check(answer):
        sweeps.check_sweep_on_tiny_models(answer, EXERCISE_SWEEPS[name])

    message = refusal(check, wrong)
    assert words in message
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == ["expected", "actual", "hint"]


@pytest.mark.parametrize("name", EXERCISE_SWEEPS)
@pytest.mark.parametrize("seed", [0, tests.hidden.SEED])
def test_no_seed_refuses_a_right_sweep(name, seed):
    sweeps.check_sweep_on_tiny_models(sweep_with(name), EXERCISE_SWEEPS[name], seed)


def of_differences(combine):
    """A metric made of the prompts' logit differences."""

    def ioi_metric(logits, answer_tokens, corrupted_logit_diff, clean_logit_diff):
        differences = logits[:, -1].gather(1, answer_tokens)
        logit_diff = combine(differences[:, 0] - differences[:, 1])
        return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)

    return ioi_metric


@pytest.mark.parametrize(
    ("combine", "words"),
    [
        (torch.sum, "differences 2, 1 and 3"),
        (lambda differences: differences[0], "the prompts in another order"),
        (lambda differences: differences.mean().clamp(-1, 3), "logits ten times as large"),
        (lambda differences: differences.mean().abs(), "correct and incorrect swapped"),
    ],
)
def test_each_logit_difference_put_there_tells_something_of_its_own(combine, words):
    test_01_ioi_metric.check_known_differences(of_differences(torch.mean), seed=0)
    message = refusal(
        lambda answer: test_01_ioi_metric.check_known_differences(answer, seed=0), of_differences(combine)
    )
    assert words in message


def test_a_helper_that_is_wrong_in_the_same_way_does_not_help_the_metric(monkeypatch):
    def first_position(logits, answer_tokens, per_prompt=False):
        return utils.logits_to_ave_logit_diff(logits[:, :1], answer_tokens, per_prompt)

    def ioi_metric(logits, answer_tokens, corrupted_logit_diff, clean_logit_diff):
        logit_diff = first_position(logits, answer_tokens)
        return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)

    monkeypatch.setattr(test_01_ioi_metric, "logits_to_ave_logit_diff", first_position)
    assert "three prompts" in refusal(tests.test_ioi_metric, ioi_metric)


def two_prompts_only(corrupted_pattern, hook, head_index, clean_cache):
    corrupted_pattern[:2, head_index] = clean_cache[hook.name][:2, head_index]
    return corrupted_pattern


def counts_its_calls():
    calls = Counter()

    def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
        head_index = calls[corrupted_pattern.shape] % corrupted_pattern.shape[1]
        calls[corrupted_pattern.shape] += 1
        corrupted_pattern[:, head_index] = clean_cache[hook.name][:, head_index]
        return corrupted_pattern

    return patch_attn_patterns


def counts_its_layers():
    layers = defaultdict(list)

    def patch_attn_patterns(corrupted_pattern, hook, head_index, clean_cache):
        seen = layers[corrupted_pattern.shape]
        seen.extend({hook.name} - set(seen))
        corrupted_pattern[:, head_index] = clean_cache[seen[-1]][:, head_index]
        return corrupted_pattern

    return patch_attn_patterns


@pytest.mark.parametrize("make", [counts_its_calls, counts_its_layers])
def test_calls_in_no_order_refuse_what_counts_on_their_order(make, monkeypatch):
    monkeypatch.setattr(hooks, "_from_the_middle", lambda count: list(range(count)))
    assert refusal(tests.test_patch_attn_patterns, make()).startswith("patch_attn_patterns with head_index=")
    monkeypatch.setattr(hooks.random.Random, "shuffle", lambda *args: None)
    tests.test_patch_attn_patterns(make())


def test_a_second_batch_size_refuses_what_knows_one(monkeypatch):
    assert refusal(tests.test_patch_attn_patterns, two_prompts_only).startswith("patch_attn_patterns with head_index=")
    monkeypatch.setattr(hooks, "GROWTH", 0)
    tests.test_patch_attn_patterns(two_prompts_only)


@pytest.mark.parametrize("name", ["patch_residual_component", "patch_head_vector", "patch_attn_patterns"])
def test_a_hook_is_tried_on_two_batch_sizes_with_all_sizes_different(name, monkeypatch):
    cases = []
    monkeypatch.setattr(hooks, "_check_one_patch", lambda function, exercise, case: cases.append(case))
    getattr(tests, f"test_{name}")(lambda *args, **kwargs: None)
    assert len({case.sizes["batch"] for case in cases}) > 1
    assert all(len(set(case.sizes.values())) == len(case.sizes) for case in cases)
