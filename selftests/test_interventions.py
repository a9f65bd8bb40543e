"""Path patching and ablation by means agree with slow runs that are written in another way, head by head."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

import utils
from selftests.claim_maps import ioi_mini
from selftests.families import native_model
from selftests.random_gpt2 import make_case
from tests.checks import mistakes
from tests.checks.cases import SweepCase, tiny_cases
from tests.checks.mistakes import Repair
from utils.models import n_key_value_heads

Head = tuple[int, int]


@pytest.fixture(scope="module", params=["2 layers", "4 layers", "shared keys", "ioi-mini"])
def case(request) -> SweepCase:
    """A model, corrupted tokens and a clean cache; all sizes differ, and so do the numbers of heads in one of them."""
    if request.param == "ioi-mini":
        model, data = ioi_mini()
        _, clean_cache = model.run_with_cache(data.clean_tokens)
        return SweepCase(model, data.corrupted_tokens, clean_cache, torch.mean, clean_tokens=data.clean_tokens)
    if request.param == "shared keys":
        return make_case(native_model(n_layers=3, n_key_value_heads=2, n_heads=6, normalization_type="RMS"))
    return dict(zip(["2 layers", "4 layers"], tiny_cases(), strict=True))[request.param]


def paths(case: SweepCase) -> list[tuple[list[Head], list[Head]]]:
    """Senders and receivers: one and one, and several of the first and of the last layers."""
    last, heads = case.model.cfg.n_layers - 1, case.model.cfg.n_heads
    return [([(0, 1)], [(last, 0)]), ([(0, 0), (0, 1), (last - 1, heads - 1)], [(last, 1), (last, heads - 1)])]


def replaced(new: Tensor) -> Callable[[Tensor, HookPoint], Tensor]:
    """A hook that replaces the activation."""
    return lambda activation, hook: new.clone()


def slow_path_patch(
    case: SweepCase, senders: list[Head], receivers: list[Head], component: str
) -> Float[Tensor, "batch pos d_vocab"]:
    """Two full runs with explicit hooks, one for each activation, built from lists of heads."""
    model, tokens = case.model, case.corrupted_tokens
    corrupted = model.run_with_cache(tokens)[1]
    frozen = []
    for layer in range(model.cfg.n_layers):
        z = torch.stack(
            [
                (case.clean_cache if (layer, head) in senders else corrupted)["z", layer][:, :, head]
                for head in range(model.cfg.n_heads)
            ],
            dim=2,
        )
        frozen.append((get_act_name("z", layer), replaced(z)))
    seen: dict[int, Tensor] = {}

    def see(activation: Tensor, hook: HookPoint, layer: int) -> None:
        seen[layer] = activation.detach().clone()

    layers = sorted({layer for layer, _ in receivers})
    model.run_with_hooks(
        tokens, fwd_hooks=[*frozen, *((get_act_name(component, layer), partial(see, layer=layer)) for layer in layers)]
    )
    received = []
    for layer in layers:
        sides = [corrupted[component, layer], seen[layer]]
        heads = [sides[(layer, head) in receivers][:, :, head] for head in range(sides[0].shape[2])]
        received.append((get_act_name(component, layer), replaced(torch.stack(heads, dim=2))))
    return model.run_with_hooks(tokens, fwd_hooks=received)


@pytest.mark.parametrize("component", ["q", "k", "v"])
def test_path_patching_agrees_with_two_explicit_runs(case: SweepCase, component: str) -> None:
    for senders, receivers in paths(case):
        read = utils.heads_read(case.model, receivers, component)
        arguments = case.model, case.corrupted_tokens, case.clean_cache, senders, read, component
        torch.testing.assert_close(utils.path_patch(*arguments), slow_path_patch(case, senders, read, component))


def test_a_path_between_a_run_and_itself_changes_nothing(case: SweepCase) -> None:
    _, cache = case.model.run_with_cache(case.corrupted_tokens)
    for senders, receivers in paths(case):
        logits = utils.path_patch(case.model, case.corrupted_tokens, cache, senders, receivers, "q")
        torch.testing.assert_close(logits, case.model(case.corrupted_tokens))


def test_the_clean_cache_stays_as_it_was(case: SweepCase) -> None:
    before = case.clean_cache["z", 0].clone()
    utils.path_patch(case.model, case.corrupted_tokens, case.clean_cache, [(0, 1)], [(1, 0)], "q")
    assert torch.equal(case.clean_cache["z", 0], before)


def slow_means(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "layer pos head d_head"]:
    """Sum the outputs of one run for each prompt."""
    caches = [model.run_with_cache(prompt[None])[1] for prompt in tokens]
    layers = range(model.cfg.n_layers)
    return torch.stack([sum(cache["z", layer][0] for cache in caches) / len(tokens) for layer in layers])


def slow_ablation(
    model: TransformerBridge, tokens: Tensor, means: Tensor, heads: list[Head]
) -> Float[Tensor, "batch pos d_vocab"]:
    """A run in which a mask chooses, in each layer, between its heads' outputs and the means."""
    hooks = []
    for layer in sorted({layer for layer, _ in heads}):

        def ablate(z: Tensor, hook: HookPoint, layer: int = layer) -> Tensor:
            mask = torch.zeros(z.shape[2], dtype=torch.bool)
            mask[[head for other, head in heads if other == layer]] = True
            return torch.where(mask[:, None], means[layer].expand_as(z), z)

        hooks.append((get_act_name("z", layer), ablate))
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def test_means_agree_with_a_run_for_each_prompt(case: SweepCase) -> None:
    torch.testing.assert_close(
        utils.mean_outputs(case.model, case.corrupted_tokens), slow_means(case.model, case.corrupted_tokens)
    )


def test_ablation_agrees_with_a_masked_run(case: SweepCase) -> None:
    means = slow_means(case.model, case.corrupted_tokens.flip(1))
    for heads, others in paths(case):
        wanted = slow_ablation(case.model, case.corrupted_tokens, means, [*heads, *others])
        found = utils.mean_ablate(case.model, case.corrupted_tokens, means, [*heads, *others])
        torch.testing.assert_close(found, wanted)
        assert not torch.allclose(found, case.model(case.corrupted_tokens), atol=1e-3)


def test_heads_read_are_those_that_change_with_the_query_head(case: SweepCase) -> None:
    model = case.model
    heads = [(1, head) for head in range(model.cfg.n_heads)]
    assert utils.heads_read(model, heads, "q") == heads
    assert len(utils.heads_read(model, heads, "k")) == n_key_value_heads(model)
    pattern, key = get_act_name("pattern", 1), get_act_name("k", 1)
    _, before = model.run_with_cache(case.corrupted_tokens)
    for head in range(model.cfg.n_heads):
        ((_, read),) = utils.heads_read(model, [(1, head)], "k")

        def other_key(k: Tensor, hook: HookPoint, read: int = read) -> Tensor:
            k = k.clone()
            k[:, :, read] = k[:, :, read].flip(1)
            return k

        with model.hooks(fwd_hooks=[(key, other_key)]):
            _, after = model.run_with_cache(case.corrupted_tokens)
        assert not torch.allclose(before[pattern][:, head], after[pattern][:, head], atol=1e-4)


def test_heads_outside_a_circuit_are_all_others() -> None:
    model, _ = ioi_mini()
    circuit = utils.published_circuit()
    outside = utils.heads_outside(model, circuit)
    inside = [head for heads in circuit.values() for head in heads]
    assert sorted(outside + inside) == [(layer, head) for layer in range(12) for head in range(12)]
    assert utils.heads_outside(model, [(0, 0)])[0] == (0, 1)


def test_faithfulness_of_all_heads_is_1_and_of_none_that_of_the_average() -> None:
    model, data = ioi_mini()
    means = utils.mean_outputs(model, utils.with_other_names(model, data))
    everything = utils.heads_outside(model, [])
    assert utils.faithfulness(model, data, everything, means) == pytest.approx(1)
    ablated = slow_ablation(model, data.clean_tokens, means, everything)
    left = utils.logits_to_ave_logit_diff(ablated, data.answer_tokens)
    whole = utils.logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens)
    assert utils.faithfulness(model, data, [], means) == pytest.approx((left / whole).item(), abs=1e-5)


def test_self_repair_is_that_of_three_explicit_runs(case: SweepCase) -> None:
    model, tokens = case.model, case.corrupted_tokens
    means, last = slow_means(model, tokens.flip(1)), model.cfg.n_layers - 1
    _, cache = model.run_with_cache(tokens)
    negative = [(last, 1)]

    def metric(logits: Tensor) -> Tensor:
        return logits[:, -1, 5].mean() - logits[:, -1, 7].mean()

    def run(frozen: list[Head]) -> Tensor:
        """Ablate head 0.0, and set each layer's outputs head by head."""

        def outputs(z: Tensor, hook: HookPoint) -> Tensor:
            layer = hook.layer()
            heads = [
                means[0][:, 0].expand_as(z[:, :, 0])
                if (layer, head) == (0, 0)
                else (cache["z", layer] if (layer, head) in frozen else z)[:, :, head]
                for head in range(z.shape[2])
            ]
            return torch.stack(heads, dim=2)

        names = [get_act_name("z", layer) for layer in range(last + 1)]
        return metric(model.run_with_hooks(tokens, fwd_hooks=[(name, outputs) for name in names]))

    later = [(layer, head) for layer in range(1, last + 1) for head in range(model.cfg.n_heads)]
    all_frozen, negative_frozen, free = run(later), run(negative), run([])
    found = Repair(model, tokens, cache, means, (0, 0), negative, metric).parts
    torch.testing.assert_close(found, torch.stack([negative_frozen - all_frozen, free - negative_frozen]))


def test_each_usual_mistake_differs_from_the_right_result_by_far_more_than_the_tolerance() -> None:
    case = list(tiny_cases())[1]
    tokens, metric = case.corrupted_tokens, case.patching_metric
    senders, receivers = [(0, 0), (1, 1), (1, 0)], [(3, 1), (2, 0)]
    means, heads = slow_means(case.model, tokens.flip(0, 1)), [(3, 1), (0, 0), (2, 1)]
    assert case.clean_tokens is not None
    repair = Repair(case.model, case.clean_tokens, case.clean_cache, means, (0, 1), [(2, 0), (3, 0)], metric)
    tried = {
        mistakes.on_a_path(case, senders, receivers, "q"): slow_path_patch(case, senders, receivers, "q"),
        mistakes.of_ablation(case.model, tokens, means, heads): slow_ablation(case.model, tokens, means, heads),
        mistakes.of_repair(repair): repair.parts,
    }
    for usual, right in tried.items():
        results = [result for _, result in usual]
        assert min((result - right).abs().max() for result in results) > 1e-2
