"""Notebook 05: the circuit, written down as data."""

import contextlib
import sys

from tests.checks.checking import SHOWN, CheckFailed, NotImplementedYet
from tests.checks.circuit import CRITERIA, main_heads, objection
from utils import has_published_heads, load_ioi, model_in_use, model_name
from utils.circuit import (
    HEAD_CLASSES,
    CircuitError,
    Evidence,
    Head,
    HeadClass,
    measure_evidence,
    published_circuit,
    read_circuit,
)

GRADED = ("duplicate token", "induction", "s-inhibition", "name mover", "negative name mover")
BONUS = ("previous token",)
"""Patching cannot show previous-token heads, because the prompts agree up to S2: the evidence is their attention."""

HINTS = {
    "q": "the strong effects in the q panel of notebook 4, and what these heads attend to from {acts_at}",
    "v": "the strong effects in the v panel of notebook 4, and what these heads attend to from {acts_at}",
    "direct": "the blue squares of the direct attribution map, and what these heads attend to from {acts_at}",
    "-direct": "the red squares of the direct attribution map, and what these heads attend to from {acts_at}",
    "attention": "the heads that attend from {acts_at} to {attends_to}, in layers before the induction heads",
}


def test_my_circuit(my_circuit: dict[str, list[Head]], head_class: str | None = None) -> None:
    """Check `my_circuit` against the evidence measured on the loaded model: one class, or all graded ones.

    A class passes when the evidence supports every head listed in it, and none of its main heads is missing. A head
    must attend to the position that its class attends to, and have an effect in the experiment that identifies the
    class; one with a strong effect is a main head (see `tests.checks.circuit`). Other heads that fit may be listed
    or left out, and a head may be in several classes. On gpt2-small the published classes count too: a published head
    is never wrong, and a head that is not published is never missing. Backup name movers are not checked: only an
    ablation shows them. A model may have no head of a class: an empty list passes then, and a printed line says so.

    Raises `CheckFailed` with the first class's hint, and `NotImplementedYet` while all lists are empty and should not
    be. The first call takes as long as a sweep over 5 components of all heads; its result is cached on disk.
    """
    with contextlib.redirect_stderr(sys.stdout):
        model = model_in_use()
        circuit = _read(my_circuit, model.cfg.n_layers, model.cfg.n_heads)
        is_empty, names = not any(circuit.values()), (head_class,) if head_class else GRADED
        if is_empty and has_published_heads():
            raise NotImplementedYet("my_circuit")
        evidence = measure_evidence(model, load_ioi(model))
        without = [name for name in names if not main_heads(HEAD_CLASSES[name], evidence)]
        if is_empty and set(names) - set(without):
            raise NotImplementedYet("my_circuit")
        failures = {}
        for name in names:
            actual = _shortcomings(circuit.get(name, []), HEAD_CLASSES[name], evidence)
            if actual:
                failures[name] = actual
    if failures:
        raise _failure(failures)
    if without:
        print(f"On this model the evidence requires no head of these classes: {', '.join(without)}.")
    print(f"my_circuit: {head_class or 'all'} checks passed.")


def _read(my_circuit: object, n_layers: int, n_heads: int) -> dict[str, list[Head]]:
    try:
        circuit = read_circuit(my_circuit, n_layers, n_heads)
    except CircuitError as error:
        raise CheckFailed(
            "my_circuit gives a list of (layer, head) pairs for each class",
            'such as {"duplicate token": [(1, 2), (3, 4)], ...}',
            str(error),
            "keep the dictionary of the exercise and fill in its lists",
        ) from None
    except Exception as error:  # a learner's own collection may raise anything
        raise CheckFailed(
            "my_circuit can be read", "a plain dictionary", type(error).__name__, "use {} and []"
        ) from None
    return circuit


def _shortcomings(heads: list[Head], head_class: HeadClass, evidence: Evidence) -> str:
    """Return what is wrong with the heads listed in a class, as one line; empty if nothing is."""
    published = published_circuit()[head_class.name] if model_name() == "gpt2-small" else None
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


def _failure(failures: dict[str, str]) -> CheckFailed:
    name = next(iter(failures))
    head_class = HEAD_CLASSES[name]
    hint = HINTS[CRITERIA[name].shown_by].format(acts_at=head_class.acts_at, attends_to=head_class.attends_to)
    return CheckFailed(
        f"my_circuit lists the heads of these classes: {', '.join(failures)}",
        "heads that the evidence on this model supports, with none of the important ones missing",
        "\n            ".join(f"{name}: {text}" for name, text in failures.items()),
        f"for {name} see {hint}; utils.evidence_table shows the numbers",
    )
