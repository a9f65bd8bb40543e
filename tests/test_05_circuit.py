"""Notebook 05: the circuit, written down as data."""

import contextlib
import sys

from tests.checks.checking import NotImplementedYet
from tests.checks.circuit import check_classes, read_learners_circuit
from utils import has_published_heads, load_ioi, model_in_use, model_name
from utils.circuit import Head, measure_evidence, published_circuit

GRADED = ("duplicate token", "induction", "s-inhibition", "name mover", "negative name mover")
BONUS = ("previous token",)
"""Patching cannot show previous-token heads, because the prompts agree up to S2: the evidence is their attention."""


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
        circuit = read_learners_circuit("my_circuit", my_circuit, model)
        if not any(circuit.values()) and has_published_heads():
            raise NotImplementedYet("my_circuit")
        evidence = measure_evidence(model, load_ioi(model))
        published = published_circuit() if model_name() == "gpt2-small" else None
        check_classes("my_circuit", circuit, (head_class,) if head_class else GRADED, evidence, published)
    print(f"my_circuit: {head_class or 'all'} checks passed.")
