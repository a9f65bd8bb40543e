"""Whether the evidence on a model puts a head into a class of the circuit, and how a check of a circuit says so."""

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from tests.checks.checking import SHOWN, CheckFailed, NotImplementedYet
from utils.circuit import HEAD_CLASSES, Circuit, CircuitError, Evidence, Head, HeadClass, head_name, read_circuit
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

HINTS = {
    "q": "the strong effects of patching q (notebook 4), and what these heads attend to from {acts_at}",
    "v": "the strong effects of patching v (notebook 4), and what these heads attend to from {acts_at}",
    "direct": "the blue squares of the direct attribution map, and what these heads attend to from {acts_at}",
    "-direct": "the red squares of the direct attribution map, and what these heads attend to from {acts_at}",
    "attention": "the heads that attend from {acts_at} to {attends_to}, in layers before the induction heads",
}


def read_learners_circuit(exercise: str, circuit: object, model: TransformerBridge) -> Circuit:
    """Return the circuit that the variable `exercise` holds; raise `CheckFailed` if it is none of this model's."""
    try:
        return read_circuit(circuit, model.cfg.n_layers, model.cfg.n_heads)
    except CircuitError as error:
        raise CheckFailed(
            f"{exercise} gives a list of (layer, head) pairs for each class",
            'such as {"duplicate token": [(1, 2), (3, 4)], ...}',
            str(error),
            "keep the dictionary of the exercise and fill in its lists",
        ) from None
    except Exception as error:  # a learner's own collection may raise anything
        raise CheckFailed(
            f"{exercise} can be read", "a plain dictionary", type(error).__name__, "use {} and []"
        ) from None


def check_classes(
    exercise: str, circuit: Circuit, names: Iterable[str], evidence: Evidence, published: Circuit | None = None
) -> None:
    """Check these classes of a circuit against the evidence, and print which of them have no head on this model.

    A head of a `published` circuit is never wrong, and one that is not in it is never missing. Raises `CheckFailed`
    with the first class's hint, and `NotImplementedYet` while the circuit is empty and should not be.
    """
    without = [name for name in names if not main_heads(HEAD_CLASSES[name], evidence)]
    if not any(circuit.values()) and set(names) - set(without):
        raise NotImplementedYet(exercise)
    failures = {}
    for name in names:
        own = None if published is None else published[name]
        if actual := shortcomings(circuit.get(name, []), HEAD_CLASSES[name], evidence, own):
            failures[name] = actual
    if failures:
        raise _failure(exercise, failures)
    if without:
        print(f"On this model the evidence requires no head of these classes: {', '.join(without)}.")


def shortcomings(
    heads: list[Head], head_class: HeadClass, evidence: Evidence, published: list[Head] | None = None
) -> str:
    """Return what is wrong with the heads listed in a class, as one line; empty if nothing is."""
    wrong = [
        text for head in heads if head not in (published or []) and (text := objection(head, head_class, evidence))
    ]
    main = main_heads(head_class, evidence)
    missing = len(main.difference(heads) if published is None else main.intersection(published).difference(heads))
    parts = wrong[:SHOWN]
    if len(wrong) > SHOWN:
        parts.append(f"and {len(wrong) - SHOWN} more heads in it do not fit")
    if missing:
        parts.append(f"{missing} important {'head is' if missing == 1 else 'heads are'} missing")
    return "; ".join(parts)


def _failure(exercise: str, failures: dict[str, str]) -> CheckFailed:
    name = next(iter(failures))
    head_class = HEAD_CLASSES[name]
    hint = HINTS[CRITERIA[name].shown_by].format(acts_at=head_class.acts_at, attends_to=head_class.attends_to)
    return CheckFailed(
        f"{exercise} lists the heads of these classes: {', '.join(failures)}",
        "heads that the evidence on this model supports, with none of the important ones missing",
        "\n            ".join(f"{name}: {text}" for name, text in failures.items()),
        f"for {name} see {hint}; utils.evidence_table shows the numbers",
    )


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
