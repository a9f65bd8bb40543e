"""Whether the evidence on a model puts a head into a class of the circuit."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from utils.circuit import HEAD_CLASSES, Evidence, Head, HeadClass, head_name
from utils.ioi import POSITIONS
from utils.sweep_specs import HEAD_COMPONENTS

COMPONENT_NAMES = {"q": "queries", "v": "values"}
MIN_ATTENTION = 0.25
"""A head attends to a position if at least this share of its attention goes there, three times a uniform share."""


@dataclass(frozen=True)
class Criterion:
    """What identifies the heads of a class, besides the position they attend to.

    `shown_by` is `"q"` or `"v"` (the effect of patching queries or values), `"direct"` (the share of the logit
    difference that a head adds directly), `"-direct"` (the same, against the answer) or `"attention"`. By that measure
    a head of the class has at least `min_effect`: where that is below zero, a head that only attends as the class does
    is optional. A head with `main_effect` or more belongs to every right description of the class; with infinity, no
    head is required.
    """

    shown_by: str
    min_effect: float
    main_effect: float


CRITERIA: dict[str, Criterion] = {
    "duplicate token": Criterion("q", -0.05, 0.08),
    "previous token": Criterion("attention", MIN_ATTENTION, 0.8),
    "induction": Criterion("q", -0.05, 0.08),
    "s-inhibition": Criterion("v", 0.03, 0.08),
    "name mover": Criterion("direct", 0.05, 0.15),
    "backup name mover": Criterion("direct", 0.0, float("inf")),
    "negative name mover": Criterion("-direct", 0.05, 0.15),
}


def effects(head_class: HeadClass, evidence: Evidence) -> Float[Tensor, "layer head"]:
    """Return each head's effect by the measure that identifies the class."""
    shown_by = CRITERIA[head_class.name].shown_by
    if shown_by == "attention":
        return evidence.attention[head_class.acts_at, head_class.attends_to]
    if shown_by in HEAD_COMPONENTS:
        return evidence.patching[HEAD_COMPONENTS.index(shown_by)]
    sign = -1 if shown_by.startswith("-") else 1
    return sign * evidence.attribution / evidence.logit_diff


def main_heads(head_class: HeadClass, evidence: Evidence) -> set[Head]:
    """Return the heads that every right description of the class includes, on this model; a model may have none."""
    strong = (effects(head_class, evidence) >= CRITERIA[head_class.name].main_effect).nonzero().tolist()
    return {(layer, head) for layer, head in strong if not objection((layer, head), head_class, evidence)}


def objection(head: Head, head_class: HeadClass, evidence: Evidence) -> str:
    """Return the evidence against a head's membership in a class as a sentence; empty where there is none."""
    criterion = CRITERIA[head_class.name]
    listed = f"{head_name(head)} is listed as {_a(head_class.name)}, but"
    attention = _attention(head, head_class.acts_at, evidence)
    wanted = f"{head_class.attends_to} ({attention[head_class.attends_to]:.2f})"
    if not _attends_as(head, head_class, evidence):
        most, value = next(iter(attention.items()))
        if value < MIN_ATTENTION:
            return f"{listed} at {head_class.acts_at} it hardly attends to {wanted}"
        return f"{listed} at {head_class.acts_at} it attends to {most} ({value:.2f}), not to {wanted}"
    effect = effects(head_class, evidence)[head].item()
    if effect < criterion.min_effect:
        if "direct" in criterion.shown_by:
            shown = f"it adds {evidence.attribution[head].item():z.2f} directly to the logit difference"
        else:
            shown = f"patching its {COMPONENT_NAMES[criterion.shown_by]} moves the metric by {effect:z.2f}"
        return f"{listed} {shown}, though it attends to {wanted}"
    if head_class.feeds and head_class.acts_at != "END":  # at END, negative and backup name movers read too
        readers = main_heads(HEAD_CLASSES[head_class.feeds], evidence)
        if readers and all(layer <= head[0] for layer, _ in readers):
            return f"{listed} no important {head_class.feeds} head comes after layer {head[0]} to read what it writes"
    return ""


def _attention(head: Head, position: str, evidence: Evidence) -> dict[str, float]:
    """Return a head's attention from a position to each of the five positions, the largest first."""
    values = {target: evidence.attention[position, target][head].item() for target in POSITIONS}
    return dict(sorted(values.items(), key=lambda item: -item[1]))


def _attends_as(head: Head, head_class: HeadClass, evidence: Evidence) -> bool:
    """Whether a head attends to the class's position, and to no other of the five more."""
    target, value = next(iter(_attention(head, head_class.acts_at, evidence).items()))
    return target == head_class.attends_to and value >= MIN_ATTENTION


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' or noun.startswith('s-') else 'a'} {noun} head".replace("mover head", "mover")
