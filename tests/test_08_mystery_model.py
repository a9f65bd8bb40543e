"""Notebook 08: the circuit of a mystery model, whose heads have other numbers than those of the model in use."""

import contextlib
import functools
import sys
from collections.abc import Callable
from dataclasses import replace

from jaxtyping import Int
from torch import Tensor

from tests.checks.checking import CheckFailed, NotImplementedYet, describe
from tests.checks.circuit import check_classes, main_heads, read_learners_circuit, shortcomings
from tests.test_05_circuit import BONUS, GRADED
from utils import has_published_heads, load_ioi, model_in_use, model_name
from utils.circuit import HEAD_CLASSES, Circuit, Evidence, Head, measure_evidence, published_circuit
from utils.errors import WorkbookError
from utils.interventions import faithfulness, mean_outputs
from utils.ioi import with_other_names
from utils.mystery import head_order, mystery_model, normalized_seed
from utils.progress import progress_bar

NAME = "my_mystery_circuit"
FAITHFULNESS = "faithfulness"
MAX_DISTANCE = 0.4
"""A circuit is faithful if alone it gives the logit difference of the whole model, up to this share of it."""
MIN_CHANGE = 0.05
"""A class is needed if that share changes at least by this without it."""
MAX_HEADS = 1 / 5
"""The largest part of the model's heads that a circuit may have."""


def test_my_mystery_circuit(
    my_mystery_circuit: dict[str, list[Head]], my_seed: int | str, part: str | None = None
) -> None:
    """Check `my_mystery_circuit` on the mystery model of `my_seed`: one class, `"faithfulness"`, or all of it.

    The classes are checked as `test_my_circuit` does: against the evidence, which is that of the model in use with the
    heads permuted. The part `"faithfulness"` intervenes on the mystery model: with all other heads ablated by means
    over prompts with other names, the circuit must give 0.6 to 1.4 of the whole model's logit difference; it must have
    at most a fifth of the model's heads; and without any one class its share must change by 0.05 or more. It asks for
    no class, and on some models for nothing, that the main heads by the evidence do not show too.

    Raises `CheckFailed`, and `NotImplementedYet` while all lists are empty and should not be. Takes half a second on
    ioi-mini and about 10 on gpt2-small; the first call on a model as long as its sweep over 5 components of all heads.
    """
    with contextlib.redirect_stderr(sys.stdout):
        model = model_in_use()
        circuit = read_learners_circuit(NAME, my_mystery_circuit, model)
        if not any(circuit.values()) and has_published_heads():
            raise NotImplementedYet(NAME)
        order, evidence = _read_order(my_seed), measure_evidence(model, load_ioi(model))
        if part != FAITHFULNESS:
            _check_evidence(circuit, [part] if part else GRADED, order, evidence)
        if part in (FAITHFULNESS, None):
            _check_faithfulness(circuit, my_seed, permuted(evidence, order))
    print(f"{NAME}: {part or 'all'} checks passed.")


def permuted(evidence: Evidence, order: Int[Tensor, "layer head"]) -> Evidence:
    """Return the evidence on the mystery model with this order of the heads, from that on the model in use."""

    def moved(values: Tensor) -> Tensor:
        return values.gather(-1, order.expand(values.shape))

    return replace(
        evidence,
        patching=moved(evidence.patching),
        attribution=moved(evidence.attribution),
        attention={pair: moved(values) for pair, values in evidence.attention.items()},
    )


def _read_order(my_seed: int | str) -> Int[Tensor, "layer head"]:
    try:
        if normalized_seed(my_seed):
            return head_order(my_seed)
    except WorkbookError as error:
        raise CheckFailed("my_seed chooses a mystery model", "a name or a number", str(error), _SEED_HINT) from None
    raise CheckFailed("my_seed chooses your mystery model", "your name or number", describe(my_seed), _SEED_HINT)


_SEED_HINT = "fill in my_seed, then run its cell and all cells below it again: another seed is another model"


def _check_evidence(
    circuit: Circuit, names: tuple[str, ...] | list[str], order: Int[Tensor, "layer head"], evidence: Evidence
) -> None:
    """Check these classes; say so where their lists would be right for the model in use."""
    inverse, published = order.argsort(), None
    if model_name() == "gpt2-small":
        published = {
            name: [(layer, int(inverse[layer, head])) for layer, head in heads]
            for name, heads in published_circuit().items()
        }
    try:
        check_classes(NAME, circuit, names, permuted(evidence, order), published)
    except NotImplementedYet:
        raise
    except CheckFailed as failed:
        listed = {name: circuit[name] for name in names if circuit.get(name)}
        if listed and not any(shortcomings(heads, HEAD_CLASSES[name], evidence) for name, heads in listed.items()):
            raise failed.after(
                "these are heads of the model in use, which have other numbers in the mystery model: measure on that; "
            ) from None
        raise


def _check_faithfulness(circuit: Circuit, seed: int | str, evidence: Evidence) -> None:
    """Check by ablation that a circuit gives the logit difference, and that each of its classes is needed."""
    mystery = mystery_model(seed)
    n_heads, most = sum(map(len, circuit.values())), int(MAX_HEADS * mystery.cfg.n_layers * mystery.cfg.n_heads)
    if n_heads > most:
        few = "keep the heads for which you have evidence"
        raise CheckFailed(f"{NAME} is a small part of the model", f"at most {most} heads", f"{n_heads} heads", few)
    main = {name: sorted(main_heads(HEAD_CLASSES[name], evidence)) for name in (*GRADED, *BONUS)}
    data = load_ioi(mystery)
    means = mean_outputs(mystery, with_other_names(mystery, data))
    with progress_bar(2 * 2 * (1 + len(main))) as bar:

        @functools.cache
        def of_heads(heads: frozenset[Head]) -> float:
            bar.update(2)
            return faithfulness(mystery, data, heads, means)

        def share(circuit: Circuit) -> float:
            return of_heads(frozenset().union(*circuit.values()))

        alone = share(main)
        if not _is_faithful(alone):
            print(f"On this model the heads with the main effects alone give {alone:.2f} of the logit difference: no")
            print("circuit is required to give more.")
            return
        needed = [name for name in main if abs(share(_without(main, name)) - alone) >= 2 * MIN_CHANGE]
        _require_faithful(circuit, share)
        _require_need(circuit, needed, share)


def _is_faithful(share: float) -> bool:
    return abs(share - 1) <= MAX_DISTANCE  # False for nan


def _without(circuit: Circuit, name: str) -> Circuit:
    """Return a circuit without one of its classes; a head that is also in another class stays."""
    return {other: heads for other, heads in circuit.items() if other != name}


def _require_faithful(circuit: Circuit, share: Callable[[Circuit], float]) -> None:
    if _is_faithful(whole := share(circuit)):
        return
    hint = "add the classes one after another, and see which of them changes the share and how"
    if whole > 1 and not circuit.get("negative name mover"):
        hint = "which heads write against the answer? Without them the circuit gives more than the model"
    elif whole < 1 and not circuit.get("previous token"):
        hint = "what do the induction heads read at S1+1, and who wrote it? No patch shows these heads, attention does"
    raise CheckFailed(
        f"{NAME} alone gives the logit difference, with all other heads ablated",
        f"{1 - MAX_DISTANCE:.1f} to {1 + MAX_DISTANCE:.1f} of that of the whole model",
        f"{whole:.2f} of it",
        hint,
    )


def _require_need(circuit: Circuit, needed: list[str], share: Callable[[Circuit], float]) -> None:
    whole = share(circuit)
    changes = {name: share(_without(circuit, name)) - whole for name in needed}
    if idle := {name: change for name, change in changes.items() if abs(change) < MIN_CHANGE}:
        raise CheckFailed(
            f"{NAME} needs each of its classes: without one, it gives another share of the logit difference",
            f"a change of {MIN_CHANGE} or more",
            "; ".join(f"without {name} {whole + change:.2f}, with it {whole:.2f}" for name, change in idle.items()),
            "a class is not needed if it is empty, if its heads do not do its work, or if other classes list them too",
        )
