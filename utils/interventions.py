"""Interventions on chosen heads: path patching, and ablation by means.

Both follow Wang et al. 2022 (arXiv 2211.00593): path patching is described in section 3.1, ablation by means and the
faithfulness of a circuit in sections 2 and 4.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from utils.circuit import Head
from utils.ioi import IOIData, logits_to_ave_logit_diff
from utils.models import n_key_value_heads
from utils.sweep_specs import ATTENDED_TO

HeadVectors = Float[Tensor, "batch pos head d_head"]
Hook = tuple[str | Callable[..., Any], Callable[..., Any]]


def path_patch(
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    senders: Collection[Head],
    receivers: Collection[Head],
    component: str,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Return the logits of a corrupted run in which the receivers alone read the clean outputs of the senders.

    `component` is the input of the receivers that changes: `"q"`, `"k"` or `"v"`. It is recorded in a first run, where
    every head's output is frozen at its corrupted value except for the senders', which are clean: so it changes only
    through the residual stream and the MLPs between senders and receivers. The second run is the corrupted one with
    that input of the receivers replaced. Where query heads share keys and values, see `heads_read`.
    """
    inputs = {get_act_name(component, layer) for layer, _ in receivers}
    with torch.no_grad():
        _, outputs = model.run_with_cache(corrupted_tokens, names_filter=lambda name: name.endswith("hook_z"))
        for layer, head in senders:
            outputs["z", layer][:, :, head] = clean_cache["z", layer][:, :, head]
        freeze: list[Hook] = [
            (get_act_name("z", layer), lambda z, hook: outputs["z", hook.layer()])
            for layer in range(model.cfg.n_layers)
        ]
        with model.hooks(fwd_hooks=freeze):
            _, recorded = model.run_with_cache(corrupted_tokens, names_filter=lambda name: name in inputs)
        return model.run_with_hooks(corrupted_tokens, fwd_hooks=cache_hooks(recorded, receivers, component))


def heads_read(model: TransformerBridge, heads: Collection[Head], component: str) -> list[Head]:
    """Return, for each head, the layer and index of the `component` that it reads: `"q"`, `"k"` or `"v"`.

    That is the head itself, unless query heads share keys and values.
    """
    query_heads = model.cfg.n_heads // n_key_value_heads(model) if component in ATTENDED_TO else 1
    return sorted({(layer, head // query_heads) for layer, head in heads})


def mean_outputs(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "layer pos head d_head"]:
    """Return each head's mean output z over these prompts, for each position."""
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_z"))
    return torch.stack([cache["z", layer].mean(0) for layer in range(model.cfg.n_layers)])


def mean_ablate(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    means: Float[Tensor, "layer pos head d_head"],
    heads: Collection[Head],
) -> Float[Tensor, "batch pos d_vocab"]:
    """Return the logits of a run in which the outputs of `heads` are the means of `mean_outputs`."""
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=ablation_hooks(means, heads))


def ablation_hooks(means: Float[Tensor, "layer pos head d_head"], heads: Collection[Head]) -> list[Hook]:
    """Return the hooks of `mean_ablate`, for a run with other hooks besides."""
    return [head_hook("z", (layer, head), means[layer, :, head]) for layer, head in heads]


def faithfulness(
    model: TransformerBridge,
    data: IOIData,
    circuit: Mapping[str, Collection[Head]] | Collection[Head],
    means: Float[Tensor, "layer pos head d_head"],
) -> float:
    """Return the share of the clean mean logit difference that is left where all heads outside a circuit are ablated.

    `means` are those of `mean_outputs`, for example of the prompts of `utils.with_other_names`.
    """
    ablated = mean_ablate(model, data.clean_tokens, means, heads_outside(model, circuit))
    left, whole = (
        logits_to_ave_logit_diff(logits, data.answer_tokens) for logits in (ablated, model(data.clean_tokens))
    )
    return (left / whole).item()


def heads_outside(model: TransformerBridge, circuit: Mapping[str, Collection[Head]] | Collection[Head]) -> list[Head]:
    """Return the model's heads that are in no class of a circuit, or not among these heads."""
    inside = set().union(*circuit.values()) if isinstance(circuit, Mapping) else set(circuit)
    return [head for head in all_heads(model) if head not in inside]


def all_heads(model: TransformerBridge) -> list[Head]:
    """Return all heads of a model."""
    return list(itertools.product(range(model.cfg.n_layers), range(model.cfg.n_heads)))


def cache_hooks(cache: ActivationCache, heads: Collection[Head], component: str = "z") -> list[Hook]:
    """Return the hooks that set these heads' vectors to those in a cache."""
    return [head_hook(component, (layer, head), cache[component, layer][:, :, head]) for layer, head in heads]


def head_hook(component: str, head: Head, values: Float[Tensor, "*batch pos d_head"]) -> Hook:
    """Return the hook that replaces one head's vectors in an activation."""
    layer, index = head

    def replace(vectors: HeadVectors, hook: HookPoint) -> HeadVectors:
        vectors = vectors.clone()
        vectors[:, :, index] = values
        return vectors

    return get_act_name(component, layer), replace
