"""The circuit as data: classes of heads, and the evidence on a model that a head belongs to one of them.

The classes are those of Wang et al. 2022 (arXiv 2211.00593). `published/gpt2_small_ioi.json` has the paper's heads of
each class and the position they act at; the position they attend to is defined here.
"""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from utils import sweeps
from utils.errors import WorkbookError, shown
from utils.ioi import POSITIONS, IOIData, load_ioi, logits_to_ave_logit_diff, make_ioi_metric
from utils.published import published_results
from utils.references import by_query_head, reference_sweep
from utils.sweep_specs import HEAD_COMPONENTS

ALL_HEADS = "get_act_patch_attn_head_all_pos_every"
Head = tuple[int, int]
Circuit = dict[str, list[Head]]


class CircuitError(WorkbookError):
    """A circuit is not a dictionary from classes to (layer, head) pairs; the message says what to change."""


@dataclass(frozen=True)
class HeadClass:
    """A class of heads: where they attend to, and what they write for which other class."""

    name: str
    attends_to: str
    moves: str
    feeds: str = ""
    """The class that reads what this one writes, at the same position and in a later layer."""
    read_as: str = ""
    """The inputs of that class into which it enters."""

    @property
    def acts_at(self) -> str:
        """The position at which the heads of the class write."""
        return published_results()["circuit_acts_at"][self.name]


HEAD_CLASSES: dict[str, HeadClass] = {
    head_class.name: head_class
    for head_class in (
        HeadClass("duplicate token", "S1", "this name has come before", "s-inhibition", "values"),
        HeadClass("previous token", "S1", "the token before this one", "induction", "keys"),
        HeadClass("induction", "S1+1", "this name has come before", "s-inhibition", "values"),
        HeadClass("s-inhibition", "S2", "which name is repeated", "name mover", "queries"),
        HeadClass("name mover", "IO", "the name, into the answer"),
        HeadClass("backup name mover", "IO", "the same, for a missing name mover"),
        HeadClass("negative name mover", "IO", "the name, against the answer"),
    )
}


def published_circuit() -> Circuit:
    """Return the classes and heads of Wang et al. 2022, for gpt2-small."""
    return {name: [tuple(head) for head in published_results()["circuit"][name]] for name in HEAD_CLASSES}


@dataclass(frozen=True)
class Evidence:
    """The results of the workbook's experiments for each head of one model."""

    patching: Float[Tensor, "5 layer head"]
    """The effect of patching z, q, k, v and pattern (notebook 04); of k and v, those that the query head reads."""
    attribution: Float[Tensor, "layer head"]
    """What each head adds directly to the logit difference at END, in logits (see `head_attribution`)."""
    attention: dict[tuple[str, str], Float[Tensor, "layer head"]]
    """Attention in the clean run from one named position to another, such as `("END", "IO")`, mean over the prompts."""
    logit_diff: float
    """The mean logit difference of the clean run."""


def measure_evidence(model: TransformerBridge, data: IOIData | None = None, fast: bool = False) -> Evidence:
    """Measure the evidence on a model, by default for the 8 IOI prompts.

    The patching effects are those of `reference_sweep`, which computes them once and caches them on disk. With `fast`
    they are those of `utils.sweeps`, where these serve the model: the same numbers, many times faster and not cached.
    """
    data = data or load_ioi(model)
    model.reset_hooks()
    logits, cache = model.run_with_cache(data.clean_tokens)
    if fast and not sweeps.why_unsupported(model):
        arguments = model, data.corrupted_tokens, cache, make_ioi_metric(model, data)
        patching = getattr(sweeps, ALL_HEADS)(*arguments, tokens_read=data.answer_tokens).cpu()
    else:
        patching = reference_sweep(ALL_HEADS, model, data).cpu()
    patching[2:4] = by_query_head(model, patching[2:4])
    return Evidence(
        patching=patching,
        attribution=head_attribution(model, data, cache).cpu(),
        attention={
            (start, end): mean_attention(cache, model.cfg.n_layers, data.positions[start], data.positions[end])
            for start in POSITIONS
            for end in POSITIONS
        },
        logit_diff=logits_to_ave_logit_diff(logits, data.answer_tokens).item(),
    )


def head_attribution(
    model: TransformerBridge, data: IOIData, clean_cache: ActivationCache
) -> Float[Tensor, "layer head"]:
    """Return each head's direct logit attribution: what it adds to the logit difference at END, mean over the prompts.

    That is its output at END, divided by the final LayerNorm's scale, along the difference of the two answers'
    unembedding directions. `clean_cache` may also be the cache of a run with hooks.
    """
    correct, incorrect = model.W_U.T[data.answer_tokens].unbind(1)
    directions = (correct - incorrect) / clean_cache["ln_final.hook_scale"][:, -1]  # [batch d_model]
    rows = []
    for layer in range(model.cfg.n_layers):
        z = clean_cache["z", layer][:, -1]
        written = torch.einsum("bhd,hdm->bhm", z, model.W_O[layer])
        rows.append(torch.einsum("bhm,bm->bh", written, directions).mean(0))
    return torch.stack(rows)


def mean_attention(
    cache: ActivationCache, n_layers: int, start: Int[Tensor, "batch"], end: Int[Tensor, "batch"]
) -> Float[Tensor, "layer head"]:
    """Return each head's attention from the positions `start` to the positions `end`, mean over the prompts."""
    prompts = torch.arange(len(start), device=start.device)
    return torch.stack([cache["pattern", layer][prompts, :, start, end].mean(0) for layer in range(n_layers)]).cpu()


def evidence_table(evidence: Evidence, circuit: Mapping[str, object]) -> str:
    """Return the evidence for each head of a circuit as a table in plain text, for `print`.

    The column `attention` is from the position where the class acts to the one it attends to; z to pattern are patching
    effects; `direct` is in logits. Raises `CircuitError` for an invalid circuit.
    """
    columns = "".join(f"{name:>8}" for name in (*HEAD_COMPONENTS, "direct"))
    lines = [f"{'class':20}{'head':6}{'attention':16}{columns}"]
    for name, heads in read_circuit(circuit, *evidence.attribution.shape).items():
        start, end = HEAD_CLASSES[name].acts_at, HEAD_CLASSES[name].attends_to
        for head in heads:
            attention = f"{start} > {end} {evidence.attention[start, end][head]:.2f}"
            numbers = [*evidence.patching[:, *head].tolist(), evidence.attribution[head].item()]
            columns = "".join(f"{number:z8.2f}" for number in numbers)
            lines.append(f"{name:20}{head_name(head):6}{attention:16}{columns}")
    return "\n".join(lines)


def head_name(head: Head) -> str:
    """Return a head's name as it is usually written, such as `"9.9"`."""
    return f"{head[0]}.{head[1]}"


def head_names(heads: Iterable[Head]) -> str:
    """Return heads' names, such as `"9.6, 9.9"`; empty for no head."""
    return ", ".join(map(head_name, heads))


def read_circuit(circuit: object, n_layers: int = 12, n_heads: int = 12) -> Circuit:
    """Return a circuit in the order of `HEAD_CLASSES`, each class's heads sorted and without duplicates.

    Classes may be missing, and their heads may be any list, tuple or set. Raises `CircuitError` for an invalid circuit.
    """
    if not isinstance(circuit, Mapping):
        raise CircuitError(f"A circuit is a dictionary from class to heads, not {shown(circuit)}.")
    for name in circuit:
        if not isinstance(name, str) or name not in HEAD_CLASSES:
            raise CircuitError(f"There is no class {shown(name)}: the classes are {', '.join(HEAD_CLASSES)}.")
    return {name: _read_heads(circuit[name], name, n_layers, n_heads) for name in HEAD_CLASSES if name in circuit}


def _read_heads(heads: object, name: str, n_layers: int, n_heads: int) -> list[Head]:
    if not isinstance(heads, list | tuple | set | frozenset) or any(isinstance(part, int) for part in heads):
        raise CircuitError(
            f'"{name}" must be a list of (layer, head) pairs, not {shown(heads)}: '
            f'write for example "{name}": [(1, 2), (3, 4)].'
        )
    return sorted({_read_head(head, name, n_layers, n_heads) for head in heads})


def _read_head(head: Any, name: str, n_layers: int, n_heads: int) -> Head:
    try:
        layer, index = map(operator.index, head) if isinstance(head, list | tuple) else head.tolist()
    except Exception:
        raise CircuitError(
            f'{shown(head)} under "{name}" is not a head: write layer and head as a pair of integers, as in (1, 2).'
        ) from None
    if not (0 <= layer < n_layers and 0 <= index < n_heads):
        raise CircuitError(
            f'({layer}, {index}) under "{name}" is not a head of this model: layers go from 0 to {n_layers - 1} '
            f"and heads from 0 to {n_heads - 1}."
        )
    return layer, index
