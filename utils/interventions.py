"""Interventions on chosen heads: path patching, and ablation by means.

Both follow Wang et al. 2022 (arXiv 2211.00593): path patching is described in section 3.1, ablation by means and the
faithfulness of a circuit in sections 2 and 4.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
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
    senders: Iterable[Head],
    receivers: Iterable[Head],
    component: str,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Return the logits of a corrupted run in which the receivers alone read the clean outputs of the senders.

    `component` is the input of the receivers that changes: `"q"`, `"k"` or `"v"`. It is recorded in a first run, where
    every head's output is frozen at its corrupted value except for the senders', which are clean: so it changes only
    through the residual stream and the MLPs between senders and receivers. The second run is the corrupted one with
    that input of the receivers replaced. Where query heads share keys and values, all that read them are changed.
    """
    sending, receiving = by_layer(senders), by_layer(receivers)
    with torch.no_grad():
        _, corrupted_cache = model.run_with_cache(corrupted_tokens, names_filter=lambda name: name.endswith("hook_z"))

        def freeze(_: HeadVectors, hook: HookPoint) -> HeadVectors:
            z = corrupted_cache[hook.name].clone()
            clean_heads = sending.get(hook.layer(), [])
            z[:, :, clean_heads] = clean_cache[hook.name][:, :, clean_heads]
            return z

        recorded: dict[int, Tensor] = {}

        def record(received: HeadVectors, hook: HookPoint) -> None:
            recorded[hook.layer()] = received.clone()

        def receive(received: HeadVectors, hook: HookPoint) -> HeadVectors:
            heads = [_read_by(model, head, component) for head in receiving[hook.layer()]]
            received = received.clone()
            received[:, :, heads] = recorded[hook.layer()][:, :, heads]
            return received

        freezing: list[Hook] = [(get_act_name("z", layer), freeze) for layer in range(model.cfg.n_layers)]
        inputs = [get_act_name(component, layer) for layer in receiving]
        model.run_with_hooks(corrupted_tokens, fwd_hooks=[*freezing, *((name, record) for name in inputs)])
        return model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, receive) for name in inputs])


def mean_outputs(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "layer pos head d_head"]:
    """Return each head's mean output z over these prompts, for each position."""
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_z"))
    return torch.stack([cache["z", layer].mean(0) for layer in range(model.cfg.n_layers)])


def mean_ablate(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    means: Float[Tensor, "layer pos head d_head"],
    heads: Iterable[Head],
) -> Float[Tensor, "batch pos d_vocab"]:
    """Return the logits of a run in which the outputs of `heads` are the means of `mean_outputs`."""
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=ablation_hooks(means, heads))


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


def ablation_hooks(means: Float[Tensor, "layer pos head d_head"], heads: Iterable[Head]) -> list[Hook]:
    """Return the hooks of `mean_ablate`, for a run with other hooks besides."""
    ablated = by_layer(heads)

    def ablate(z: HeadVectors, hook: HookPoint) -> HeadVectors:
        z = z.clone()
        z[:, :, ablated[hook.layer()]] = means[hook.layer(), :, ablated[hook.layer()]]
        return z

    return [(get_act_name("z", layer), ablate) for layer in ablated]


def heads_outside(model: TransformerBridge, circuit: Mapping[str, Collection[Head]] | Collection[Head]) -> list[Head]:
    """Return the model's heads that are in no class of a circuit, or not among these heads."""
    inside = set().union(*circuit.values()) if isinstance(circuit, Mapping) else set(circuit)
    all_heads = itertools.product(range(model.cfg.n_layers), range(model.cfg.n_heads))
    return [head for head in all_heads if head not in inside]


def by_layer(heads: Iterable[Head]) -> dict[int, list[int]]:
    """Return the heads of each layer that has any."""
    layers: dict[int, list[int]] = {}
    for layer, head in sorted(set(heads)):
        layers.setdefault(layer, []).append(head)
    return layers


def _read_by(model: TransformerBridge, head: int, component: str) -> int:
    """Return the index, in an activation of that component, of what the query head `head` reads."""
    return head * n_key_value_heads(model) // model.cfg.n_heads if component in ATTENDED_TO else head
