"""The circuit as data: classes of heads, and the evidence that a model gives for a head's being in one of them.

The classes are those of Wang et al. 2022 (arXiv 2211.00593). Which heads the paper puts in them and where they act
stands in `published/gpt2_small_ioi.json`; where a class looks and through what it matters stands here.
"""

import operator
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from utils.errors import WorkbookError
from utils.ioi import IOIData, load_ioi, logits_to_ave_logit_diff
from utils.published import published_results
from utils.references import reference_sweep
from utils.sweep_specs import HEAD_COMPONENTS

Head = tuple[int, int]
Circuit = dict[str, list[Head]]

POSITIONS = ("S1", "S1+1", "IO", "S2", "END")
LOOKS = 0.25
"""A head that looks at a position gives it at least this much of its attention, some three times a uniform share."""


class CircuitError(WorkbookError):
    """A circuit is not written as classes and (layer, head) pairs; the text says in one sentence what to change."""


@dataclass(frozen=True)
class HeadClass:
    """A class of heads, and what tells its heads from others.

    `shown_by` is `"q"` or `"v"` (the effect of patching queries or values), `"direct"` (its share of the logit
    difference), `"-direct"` (the same, against the answer) or `"attention"`. A head of the class shows there at
    least `least`; one that shows `main` belongs to every right description of the class, and infinity asks for none.
    """

    name: str
    looks_at: str
    moves: str
    shown_by: str
    least: float
    main: float
    feeds: str = ""
    """The class that reads what this one writes at the same position, where that decides in which layers it can be."""

    @property
    def acts_at(self) -> str:
        """The position at which the class's heads write."""
        return published_results()["circuit_acts_at"][self.name]

    @property
    def published_heads(self) -> list[Head]:
        """The heads that the paper puts in this class, for gpt2-small."""
        return [tuple(head) for head in published_results()["circuit"][self.name]]


HEAD_CLASSES: dict[str, HeadClass] = {
    head_class.name: head_class
    for head_class in (
        HeadClass("duplicate token", "S1", "this name has come before", "q", -0.05, 0.08, "s-inhibition"),
        HeadClass("previous token", "S1", "the token before this one", "attention", LOOKS, 0.8, "induction"),
        HeadClass("induction", "S1+1", "this name has come before", "q", -0.05, 0.08, "s-inhibition"),
        HeadClass("s-inhibition", "S2", "which name is repeated", "v", 0.03, 0.08),
        HeadClass("name mover", "IO", "the name, into the answer", "direct", 0.05, 0.15),
        HeadClass("backup name mover", "IO", "the same, for a missing name mover", "direct", 0.0, float("inf")),
        HeadClass("negative name mover", "IO", "the name, against the answer", "-direct", 0.05, 0.15),
    )
}


def published_circuit() -> Circuit:
    """The classes and heads of Wang et al. 2022, for gpt2-small."""
    return {name: head_class.published_heads for name, head_class in HEAD_CLASSES.items()}


@dataclass(frozen=True)
class Evidence:
    """What the workbook's experiments show for each head of one model."""

    patching: Float[Tensor, "5 layer head"]
    """The effect of patching z, q, k, v and pattern (notebook 04)."""
    attribution: Float[Tensor, "layer head"]
    """What each head adds directly to the logit difference at END, in logits."""
    attention: dict[tuple[str, str], Float[Tensor, "layer head"]]
    """The clean run's attention from one named position to another, such as `("END", "IO")`, averaged over prompts."""
    logit_diff: float

    def looks(self, head: Head, acts_at: str) -> dict[str, float]:
        """Where a head looks from a position: the attention to each of the five positions."""
        return {at: self.attention[acts_at, at][head].item() for at in POSITIONS}

    def effect(self, head_class: HeadClass) -> Float[Tensor, "layer head"]:
        """How much each head shows in what the class is known by."""
        if head_class.shown_by == "attention":
            return self.attention[head_class.acts_at, head_class.looks_at]
        if head_class.shown_by in HEAD_COMPONENTS:
            return self.patching[HEAD_COMPONENTS.index(head_class.shown_by)]
        sign = -1 if head_class.shown_by.startswith("-") else 1
        return sign * self.attribution / self.logit_diff

    def main_heads(self, head_class: HeadClass) -> set[Head]:
        """The heads that no right description of the class leaves out, on this model."""
        strong = self.effect(head_class) >= head_class.main
        return {tuple(head) for head in strong.nonzero().tolist() if self.looks_right(tuple(head), head_class)}

    def looks_right(self, head: Head, head_class: HeadClass) -> bool:
        """Whether the head looks where the class looks, and nowhere else among the named positions more."""
        looks = self.looks(head, head_class.acts_at)
        return looks[head_class.looks_at] >= LOOKS and max(looks, key=looks.get) == head_class.looks_at


def measure_evidence(model: TransformerBridge, data: IOIData | None = None) -> Evidence:
    """Measure the evidence on a model; the patching effects are `reference_sweep`'s, computed once and kept on disk."""
    data = data or load_ioi(model)
    model.reset_hooks()
    logits, cache = model.run_with_cache(data.clean_tokens)
    return Evidence(
        patching=reference_sweep("get_act_patch_attn_head_all_pos_every", model, data).cpu(),
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
    """What each head adds directly to the logit difference at END, averaged over the prompts.

    That is its output there, divided by the final LayerNorm's scale, along the difference of the two answers'
    unembedding directions. `clean_cache` may be that of a run with hooks.
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
    """Each head's attention from the positions `start` to the positions `end`, averaged over the prompts."""
    prompts = torch.arange(len(start), device=start.device)
    return torch.stack([cache["pattern", layer][prompts, :, start, end].mean(0) for layer in range(n_layers)]).cpu()


def objection(head: Head, head_class: HeadClass, evidence: Evidence) -> str:
    """Say what in the evidence speaks against a head's being in a class; empty where nothing does."""
    listed = f"{head_name(head)} is listed as {_a(head_class.name)}, but"
    looks = evidence.looks(head, head_class.acts_at)
    wanted = f"{head_class.looks_at} ({looks[head_class.looks_at]:.2f})"
    if not evidence.looks_right(head, head_class):
        most = max(looks, key=looks.get)
        if looks[most] < LOOKS:
            return f"{listed} at {head_class.acts_at} it hardly looks at {wanted}"
        if most == head_class.looks_at:
            most = max((at for at in POSITIONS if at != most), key=looks.get)
        return f"{listed} at {head_class.acts_at} it looks at {most} ({looks[most]:.2f}), not at {wanted}"
    if evidence.effect(head_class)[head] < head_class.least:
        return f"{listed} {_weakness(head, head_class, evidence)}, though it looks at {wanted}"
    if head_class.feeds:
        readers = evidence.main_heads(HEAD_CLASSES[head_class.feeds])
        if all(layer <= head[0] for layer, _ in readers):
            return f"{listed} no important {head_class.feeds} head comes after layer {head[0]} to read what it writes"
    return ""


def _weakness(head: Head, head_class: HeadClass, evidence: Evidence) -> str:
    if "direct" in head_class.shown_by:
        return f"it adds {evidence.attribution[head].item():.2f} directly to the logit difference"
    what = {"q": "queries", "v": "values"}[head_class.shown_by]
    return f"patching its {what} moves the metric by {evidence.effect(head_class)[head].item():.2f}"


def evidence_table(evidence: Evidence, circuit: Mapping[str, object]) -> str:
    """The evidence for each head of a circuit as a table in plain text, for `print`.

    `looks` is the attention from the position where the class acts to the one it looks at; z to pattern are patching
    effects; `direct` is in logits.
    """
    lines = [f"{'class':20}{'head':6}{'looks':16}" + "".join(f"{name:>8}" for name in (*HEAD_COMPONENTS, "direct"))]
    for name, heads in read_circuit(circuit, *evidence.attribution.shape).items():
        start, end = HEAD_CLASSES[name].acts_at, HEAD_CLASSES[name].looks_at
        for head in heads:
            looks = f"{start} > {end} {evidence.attention[start, end][head]:.2f}"
            numbers = [*evidence.patching[:, *head].tolist(), evidence.attribution[head].item()]
            lines.append(f"{name:20}{head_name(head):6}{looks:16}" + "".join(f"{number:8.2f}" for number in numbers))
    return "\n".join(lines)


def head_name(head: Head) -> str:
    """The head's name as the field writes it: `"9.9"`."""
    return f"{head[0]}.{head[1]}"


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' or noun.startswith('s-') else 'a'} {noun} head".replace("mover head", "mover")


def read_circuit(circuit: object, n_layers: int = 12, n_heads: int = 12) -> Circuit:
    """Return a circuit in the order of `HEAD_CLASSES`, each class's heads sorted and named once.

    Classes may be left out, and their heads come in any collection. Raises `CircuitError` for what is no circuit.
    """
    if not isinstance(circuit, Mapping):
        raise CircuitError(f"A circuit is a dictionary from class to heads, not {_shown(circuit)}.")
    for name in circuit:
        if not isinstance(name, str) or name not in HEAD_CLASSES:
            raise CircuitError(f"There is no class {_shown(name)}: the classes are {', '.join(HEAD_CLASSES)}.")
    return {
        name: sorted({_read_head(head, name, n_layers, n_heads) for head in _collection(circuit[name], name)})
        for name in HEAD_CLASSES
        if name in circuit
    }


def _collection(heads: object, name: str) -> list:
    example = f'write for example "{name}": [(1, 2), (3, 4)]'
    if not isinstance(heads, list | tuple | set | frozenset):
        raise CircuitError(f'"{name}" has {_shown(heads)} where a list of heads should be: {example}.')
    if any(isinstance(part, int) for part in heads):
        raise CircuitError(f'"{name}" has {_shown(heads)} where a list of pairs should be: {example}.')
    return list(heads)


def _read_head(head: object, name: str, n_layers: int, n_heads: int) -> Head:
    try:
        layer, index = map(operator.index, head) if isinstance(head, list | tuple) else head.tolist()
    except Exception:
        raise CircuitError(
            f'{_shown(head)} under "{name}" is no head: write layer and head as a pair of whole numbers, as in (1, 2).'
        ) from None
    if not (0 <= layer < n_layers and 0 <= index < n_heads):
        raise CircuitError(
            f'({layer}, {index}) under "{name}" is no head of this model: layers go from 0 to {n_layers - 1} '
            f"and heads from 0 to {n_heads - 1}."
        )
    return layer, index


def _shown(value: object) -> str:
    try:
        return " ".join(reprlib.repr(value).split())
    except Exception:  # an object may fail to give its own text
        return f"an object of type {type(value).__name__}"
