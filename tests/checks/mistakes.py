"""What usual mistakes in the experiments of notebook 06 give: a wrong result is compared with each of them."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from tests.checks.cases import SweepCase
from utils.circuit import Head
from utils.interventions import (
    Hook,
    ablation_hooks,
    all_heads,
    cache_hooks,
    heads_outside,
    mean_ablate,
    mean_outputs,
)

Logits = Float[Tensor, "batch pos d_vocab"]
Mistakes = Iterable[tuple[str, Tensor]]
"""A hint at each mistake, and the result that it gives."""


@dataclass(frozen=True)
class Repair:
    """The arguments of `self_repair`, by the names under which it takes them, and what it returns."""

    model: TransformerBridge
    tokens: Int[Tensor, "batch pos"]
    clean_cache: ActivationCache
    means: Float[Tensor, "layer pos head d_head"]
    ablated: Head
    negative: Collection[Head]
    metric: Callable[[Logits], Float[Tensor, ""]]

    def metrics(self, ablation: list[Hook]) -> Float[Tensor, "3"]:
        """Return the metric of three runs with these hooks: later heads frozen, the negative ones frozen, none frozen.

        Frozen heads have the outputs of the clean cache.
        """
        later = [(layer, head) for layer, head in all_heads(self.model) if layer > self.ablated[0]]
        frozen = [cache_hooks(self.clean_cache, heads) for heads in (later, self.negative, [])]
        runs = [self.model.run_with_hooks(self.tokens, fwd_hooks=[*ablation, *hooks]) for hooks in frozen]
        return torch.stack([self.metric(logits) for logits in runs])

    @property
    def parts(self) -> Float[Tensor, "2"]:
        """By how much the heads raise the metric after the ablation: all but the negative ones, and these."""
        return self.metrics(ablation_hooks(self.means, [self.ablated])).diff()


def _cache_of(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hooks: list[Hook]
) -> tuple[Logits, ActivationCache]:
    """Return the logits and the cache of a run with hooks."""
    with model.hooks(fwd_hooks=hooks):
        return model.run_with_cache(tokens)


def on_a_path(case: SweepCase, senders: list[Head], receivers: list[Head], component: str) -> Mistakes:
    """Yield the usual mistakes in path patching."""
    model, tokens, clean = case.model, case.corrupted_tokens, case.clean_cache
    corrupted_logits, corrupted = model.run_with_cache(tokens)
    frozen, from_clean = cache_hooks(corrupted, all_heads(model)), cache_hooks(clean, senders)
    first_logits, first = _cache_of(model, tokens, [*frozen, *from_clean])

    def second(recorded: ActivationCache, name: str = component, heads: list[Head] = receivers) -> Logits:
        return model.run_with_hooks(tokens, fwd_hooks=cache_hooks(recorded, heads, name))

    def also_frozen(part: str) -> Logits:
        names = [f"blocks.{layer}.{part}" for layer in range(model.cfg.n_layers)]
        hooks: list[Hook] = [(name, lambda _, hook, name=name: corrupted[name]) for name in names]
        return second(_cache_of(model, tokens, [*frozen, *from_clean, *hooks])[1])

    yield (
        f"nothing changes: the second run replaces the receivers' {component}, not their output, and freezes no head",
        corrupted_logits,
    )
    yield "these are the logits of the first run, which only records: run the model once more", first_logits
    yield (
        "other heads pass on what the senders write: in the first run freeze every other head at its corrupted output",
        second(_cache_of(model, tokens, from_clean)[1]),
    )
    yield (
        "this is a patch of the senders, read by every later layer",
        model.run_with_hooks(tokens, fwd_hooks=from_clean),
    )
    yield "the receivers' input is that of the clean run, in which all is clean: take the recorded one", second(clean)
    yield (
        "in the first run the other heads are frozen at their clean outputs: freeze them at the corrupted ones",
        second(_cache_of(model, tokens, cache_hooks(clean, all_heads(model)))[1]),
    )
    whole_layers = [(layer, head) for layer, head in all_heads(model) if layer in {layer for layer, _ in receivers}]
    yield "it replaces the input of every head in the receivers' layers", second(first, heads=whole_layers)
    yield (
        "the receivers' LayerNorm computes its scale from what it receives: freeze heads only",
        also_frozen("ln1.hook_scale"),
    )
    yield "the MLPs between pass on what the senders write: freeze heads only", also_frozen("hook_mlp_out")
    for other in {"q", "k", "v"} - {component}:
        yield f"it replaces {other}, not {component}: the argument `component` says which", second(first, other)
    yield (
        "one of the senders is patched: patch all of them",
        second(_cache_of(model, tokens, [*frozen, *from_clean[-1:]])[1]),
    )
    yield "one of the receivers is patched: patch all of them", second(first, heads=receivers[-1:])


def of_ablation(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    means: Float[Tensor, "layer pos head d_head"],
    heads: list[Head],
) -> Mistakes:
    """Yield the usual mistakes in an ablation by means."""
    whole_layers = [(layer, head) for layer, head in all_heads(model) if layer in {layer for layer, _ in heads}]
    over_positions = means.mean(1, keepdim=True).expand_as(means)
    yield "no head is ablated: a hook must return the activation that it has changed", model(tokens)
    yield (
        "these heads stay and all others are ablated: the argument lists the heads to ablate",
        mean_ablate(model, tokens, means, heads_outside(model, heads)),
    )
    yield (
        "the means of this very run say something about its prompts: use the argument `means`",
        mean_ablate(model, tokens, mean_outputs(model, tokens), heads),
    )
    yield (
        "the average over positions is taken: each position has its own mean",
        mean_ablate(model, tokens, over_positions, heads),
    )
    yield "zeros are written: the average output of a head is not zero", mean_ablate(model, tokens, 0 * means, heads)
    yield (
        "every head of these layers is ablated: index the head, on axis 2 of z",
        mean_ablate(model, tokens, means, whole_layers),
    )
    yield "a single head is ablated: each of the list needs its hook", mean_ablate(model, tokens, means, heads[-1:])


def of_repair(repair: Repair) -> Mistakes:
    """Yield the usual mistakes in splitting what is made up for."""
    first, second, third = repair.metrics(ablation_hooks(repair.means, [repair.ablated]))
    clean, stack = repair.metric(repair.model(repair.tokens)), torch.stack
    yield "the parts are in the wrong order: the other heads' comes first", stack([third - second, second - first])
    yield (
        "the signs are reversed: a part is what the metric gains when the heads may react",
        stack([first - second, second - third]),
    )
    yield (
        "the first part contains the second: the negative heads stay frozen in it",
        stack([third - first, third - second]),
    )
    yield (
        "this compares with the clean run: compare the runs in which the head is ablated with each other",
        stack([second - clean, third - second]),
    )
    yield "these are metrics: each part is a difference of two of them", stack([second, third])
    yield (
        "the head's output is zero: ablate it by its mean",
        repair.metrics(ablation_hooks(0 * repair.means, [repair.ablated])).diff(),
    )
    yield "the head is not ablated", repair.metrics([]).diff()


def exchange_hint(
    actual: Int[Tensor, "batch pos"],
    tokens: Int[Tensor, "batch pos"],
    first: Int[Tensor, "batch"],
    second: Int[Tensor, "batch"],
) -> str:
    """Name the usual mistake in exchanging two tokens of each prompt."""
    rows = torch.arange(len(tokens))
    a, b = tokens[rows, first], tokens[rows, second]
    everywhere = torch.where(tokens == a[:, None], b[:, None], torch.where(tokens == b[:, None], a[:, None], tokens))
    if torch.equal(actual, tokens):
        return "the prompts come back unchanged: write into a copy, and return it"
    if torch.equal(actual, everywhere):
        return "the third name is exchanged as well: exchange by position, not by name"
    if torch.equal(actual[rows, first], actual[rows, second]):
        return "one of the names is written twice: read both from the original before writing"
    if torch.equal(actual[:, [first[0], second[0]]], tokens[:, [second[0], first[0]]]):
        return "each prompt has positions of its own: first and second have an entry for each prompt"
    return "index with the number of the prompt and its position together: tokens[rows, first]"
