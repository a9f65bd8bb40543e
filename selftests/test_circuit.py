"""The circuit as data: the evidence for it, and the check of `my_circuit` on right and wrong circuits."""

import dataclasses
import re

import numpy as np
import pytest
import torch

import tests
from grading.course import read_settings
from selftests import REPOSITORY
from selftests.circuits import ALL_HEADS, MAIN_HEADS, STUB, Broken
from tests import test_05_circuit
from tests.checks.checking import CheckFailed, NotImplementedYet
from tests.checks.circuit import CRITERIA, effects, main_heads
from tests.test_05_circuit import BONUS, GRADED
from utils import evidence_table, load_ioi, load_model, published_circuit
from utils.circuit import (
    HEAD_CLASSES,
    POSITIONS,
    CircuitError,
    Evidence,
    head_attribution,
    measure_evidence,
    read_circuit,
)
from utils.published import published_results
from utils.sweep_specs import HEAD_COMPONENTS

PUBLISHED = published_circuit()
RIGHT = {
    "as published": PUBLISHED,
    "the main heads alone": MAIN_HEADS,
    "tuples": {name: tuple(heads) for name, heads in PUBLISHED.items()},
    "sets": {name: set(heads) for name, heads in PUBLISHED.items()},
    "frozen sets": {name: frozenset(heads) for name, heads in PUBLISHED.items()},
    "heads as lists": {name: [list(head) for head in heads] for name, heads in PUBLISHED.items()},
    "heads as tensors": {name: [torch.tensor(head) for head in heads] for name, heads in PUBLISHED.items()},
    "numpy's integers": {name: [tuple(np.array(head)) for head in heads] for name, heads in PUBLISHED.items()},
    "heads in another order": {name: heads[::-1] for name, heads in PUBLISHED.items()},
    "classes in another order": dict(reversed(PUBLISHED.items())),
    "heads named twice": {name: heads * 2 for name, heads in PUBLISHED.items()},
    "without the class that is not checked": {k: v for k, v in PUBLISHED.items() if k != "backup name mover"},
    "other heads that fit": PUBLISHED
    | {"duplicate token": [(3, 0), (0, 5), (3, 4)], "induction": [(5, 5), (6, 9), (7, 1)]},
    "a backup among the name movers, as the evidence has it": PUBLISHED | {"name mover": [(9, 6), (9, 9), (10, 10)]},
    "9.7 among the s-inhibition heads": PUBLISHED | {"s-inhibition": [*PUBLISHED["s-inhibition"], (9, 7)]},
    "anything among the backups": PUBLISHED | {"backup name mover": [(1, 1)]},
}

# What is wrong -> the circuit, the class that is checked, and words of the message.
WRONG = {
    "all heads in every class": (dict.fromkeys(HEAD_CLASSES, ALL_HEADS), None, "more heads in it do not fit"),
    "an s-inhibition head as a name mover": (
        PUBLISHED | {"name mover": [(9, 9), (9, 6), (7, 3)]},
        "name mover",
        "7.3 is listed as a name mover, but at END it attends to S2 (0.",
    ),
    "a negative name mover as a name mover": (
        PUBLISHED | {"name mover": [(9, 9), (9, 6), (10, 7)]},
        "name mover",
        "10.7 is listed as a name mover, but it adds -",
    ),
    "a name mover as a negative one": (
        PUBLISHED | {"negative name mover": [(10, 7), (11, 10), (9, 9)]},
        "negative name mover",
        "9.9 is listed as a negative name mover, but it adds ",
    ),
    "a duplicate-token head as an induction head": (
        PUBLISHED | {"induction": [(5, 5), (6, 9), (3, 0)]},
        "induction",
        "3.0 is listed as an induction head, but at S2 it attends to S1 (0.",
    ),
    "an induction head as a duplicate-token head": (
        PUBLISHED | {"duplicate token": [(3, 0), (5, 5)]},
        "duplicate token",
        "at S2 it attends to S1+1 (0.",
    ),
    "a head that attends to S2 and has no effect": (
        PUBLISHED | {"s-inhibition": [*PUBLISHED["s-inhibition"], (7, 10)]},
        "s-inhibition",
        "7.10 is listed as an s-inhibition head, but patching its values moves the metric by ",
    ),
    "an idle head": (PUBLISHED | {"induction": [(5, 5), (6, 9), (1, 1)]}, "induction", "1.1 is listed as an induction"),
    "a previous-token head too late": (
        PUBLISHED | {"previous token": [(2, 2), (4, 11), (6, 0)]},
        "previous token",
        "no important induction head comes after layer 6",
    ),
    "layer and head exchanged": (PUBLISHED | {"induction": [(9, 6)]}, "induction", "2 important heads are missing"),
    "one missing": (PUBLISHED | {"s-inhibition": [(7, 9), (8, 6), (8, 10)]}, None, "1 important head is missing"),
    "two missing": (PUBLISHED | {"s-inhibition": [(8, 6), (8, 10)]}, "s-inhibition", "2 important heads are missing"),
    "a class left empty": (PUBLISHED | {"name mover": []}, "name mover", "2 important heads are missing"),
    "a class left out": ({"induction": [(5, 5), (6, 9)]}, "duplicate token", "1 important head is missing"),
    "one class right, the others empty": (STUB | {"induction": [(5, 5), (6, 9)]}, None, "duplicate token"),
    "the bonus class wrong": (PUBLISHED | {"previous token": [(2, 2)]}, "previous token", "1 important head"),
    "None": (None, None, "A circuit is a dictionary from class to heads, not None."),
    "a number": (99, None, "not 99."),
    "a list": ([(9, 9)], None, "A circuit is a dictionary"),
    "a function": (len, None, "A circuit is a dictionary"),
    "an unknown class": ({"mover": [(9, 9)]}, None, "There is no class 'mover': the classes are duplicate token"),
    "a class that is not text": ({9: [(9, 9)]}, None, "There is no class 9"),
    "None as heads": (
        {"induction": None},
        None,
        '"induction" must be a list of (layer, head) pairs, not None: write for example',
    ),
    "text as heads": ({"induction": "9.9"}, None, "\"induction\" must be a list of (layer, head) pairs, not '9.9'"),
    "text as a head": (
        {"induction": ["9.9"]},
        None,
        "'9.9' under \"induction\" is not a head: write layer and head as",
    ),
    "one pair without its list": ({"induction": (5, 5)}, None, "must be a list of (layer, head) pairs, not "),
    "whole numbers as heads": ({"induction": [65, 69]}, None, "must be a list of (layer, head) pairs, not "),
    "a fraction as a head": ({"induction": [5.5]}, None, '5.5 under "induction" is not a head'),
    "fractions in a head": ({"induction": [(5.0, 5.0)]}, None, '(5.0, 5.0) under "induction" is not a head'),
    "three numbers": ({"induction": [(5, 5, 5)]}, None, '(5, 5, 5) under "induction" is not a head'),
    "a set as a head": ({"induction": [{5, 6}]}, None, 'under "induction" is not a head'),
    "None as a head": ({"induction": [None]}, None, 'None under "induction" is not a head'),
    "a head that does not exist": ({"induction": [(5, 12)]}, None, "heads from 0 to 11"),
    "a layer that does not exist": ({"induction": [(12, 5)]}, None, "layers go from 0 to 11"),
    "counted from the end": ({"induction": [(-1, 5)]}, None, '(-1, 5) under "induction" is not a head of this model'),
}


class Nameless:
    """An object whose `repr` raises an error."""

    def __repr__(self):
        raise ZeroDivisionError


@pytest.fixture(scope="module")
def ioi_mini():
    model = load_model("ioi-mini", device="cpu")
    return model, load_ioi(model)


@pytest.fixture(scope="module")
def evidence(ioi_mini) -> Evidence:
    return measure_evidence(*ioi_mini)


@pytest.fixture
def measured_evidence(evidence, monkeypatch):
    monkeypatch.setattr(test_05_circuit, "measure_evidence", lambda *_: evidence)


def failure(circuit: object, head_class: str | None = None) -> str:
    with pytest.raises(CheckFailed) as caught:
        tests.test_my_circuit(circuit, head_class)
    return str(caught.value)


@pytest.mark.parametrize("circuit", RIGHT.values(), ids=RIGHT)
def test_right_circuit_passes(circuit, measured_evidence, capsys, monkeypatch):
    assert tests.test_my_circuit(circuit) is None
    for name in (*GRADED, *BONUS):
        assert tests.test_my_circuit(circuit, name) is None
    written = capsys.readouterr()
    assert written.err == ""
    assert written.out.splitlines()[0] == "my_circuit: all checks passed."
    assert len(written.out.splitlines()) == 1 + len(GRADED) + len(BONUS)
    # By what the setting names, grading tells a pass from points that no check gave.
    monkeypatch.chdir(REPOSITORY)
    assert all(read_settings().config.ClassGrading.pass_prints in line for line in written.out.splitlines())


@pytest.mark.parametrize(("circuit", "head_class", "words"), WRONG.values(), ids=WRONG)
def test_wrong_circuit_fails_with_a_message_that_names_the_problem(
    circuit, head_class, words, measured_evidence, capsys
):
    message = failure(circuit, head_class)
    assert words in message
    assert len(message.splitlines()) <= 8
    assert max(map(len, message.splitlines())) < 400
    assert "passed" not in capsys.readouterr().out


@pytest.mark.parametrize("circuit", [STUB, {}, {name: () for name in HEAD_CLASSES}])
@pytest.mark.parametrize("head_class", [None, *GRADED])
def test_a_stub_is_not_implemented_yet(circuit, head_class, measured_evidence):
    with pytest.raises(NotImplementedYet, match="my_circuit is not implemented yet"):
        tests.test_my_circuit(circuit, head_class)


def test_all_heads_fail_in_each_class(measured_evidence):
    for name in (*GRADED, *BONUS):
        assert "more heads in it do not fit" in failure(dict.fromkeys(HEAD_CLASSES, ALL_HEADS), name)


def test_each_class_has_its_own_verdict(measured_evidence):
    circuit = PUBLISHED | {"name mover": [(7, 3)], "induction": []}
    for name in (*GRADED, *BONUS):
        if name in ("name mover", "induction"):
            assert failure(circuit, name).startswith(f"my_circuit lists the heads of these classes: {name}\n")
        else:
            tests.test_my_circuit(circuit, name)
    assert failure(circuit).startswith("my_circuit lists the heads of these classes: induction, name mover\n")


@pytest.mark.parametrize("name", MAIN_HEADS)
def test_a_missing_head_is_not_named(name, measured_evidence):
    for missing in MAIN_HEADS[name]:
        message = failure(MAIN_HEADS | {name: [head for head in MAIN_HEADS[name] if head != missing]}, name)
        assert "1 important head is missing" in message
        assert not re.search(r"\d+\.\d+ ", message)


@pytest.mark.parametrize("circuit", [Broken(a=1), {"induction": [Nameless()]}, Nameless(), {Nameless(): []}])
def test_an_object_that_raises_when_read_fails_the_check(circuit, measured_evidence):
    assert failure(circuit).startswith("my_circuit ")


@pytest.mark.parametrize("name", MAIN_HEADS)
def test_main_heads_of_ioi_mini(name, evidence):
    """With a margin, so that training ioi-mini again moves no head across a threshold."""
    head_class = HEAD_CLASSES[name]
    effect, main = effects(head_class, evidence), MAIN_HEADS[name]
    assert main_heads(head_class, evidence) == set(main)
    assert min(effect[head].item() for head in main) > 1.1 * CRITERIA[name].main_effect


def test_on_another_model_its_own_evidence_decides(evidence, monkeypatch):
    """A model whose heads are shifted by one within each layer."""

    def moved(tensor):
        return tensor.roll(1, dims=-1)

    attention = {pair: moved(values) for pair, values in evidence.attention.items()}
    other = dataclasses.replace(
        evidence, patching=moved(evidence.patching), attribution=moved(evidence.attribution), attention=attention
    )
    monkeypatch.setattr(test_05_circuit, "measure_evidence", lambda *_: other)
    circuit = {name: [(layer, (head + 1) % 12) for layer, head in heads] for name, heads in MAIN_HEADS.items()}
    tests.test_my_circuit(circuit)
    for name in (*GRADED, *BONUS):
        failure(PUBLISHED, name)


def test_a_class_without_heads_on_this_model_is_named_and_passes_empty(evidence, monkeypatch, capsys):
    other = dataclasses.replace(evidence, attribution=evidence.attribution.clamp(min=0))
    monkeypatch.setattr(test_05_circuit, "measure_evidence", lambda *_: other)
    circuit = MAIN_HEADS | {"negative name mover": []}
    tests.test_my_circuit(circuit)
    tests.test_my_circuit(circuit, "negative name mover")
    note = "On this model the evidence requires no head of these classes: negative name mover.\n"
    assert capsys.readouterr().out.count(note) == 2
    assert "10.7 is listed as a negative name mover" in failure(MAIN_HEADS, "negative name mover")


def test_a_model_without_any_head_of_a_class_passes_with_empty_lists(evidence, monkeypatch, capsys):
    idle = dataclasses.replace(
        evidence,
        patching=torch.zeros_like(evidence.patching),
        attribution=torch.zeros_like(evidence.attribution),
        attention={pair: torch.zeros_like(values) for pair, values in evidence.attention.items()},
    )
    monkeypatch.setattr(test_05_circuit, "measure_evidence", lambda *_: idle)
    monkeypatch.setattr(test_05_circuit, "has_published_heads", lambda: False)
    tests.test_my_circuit(STUB)
    assert "requires no head of these classes: duplicate token, induction," in capsys.readouterr().out
    monkeypatch.setattr(test_05_circuit, "measure_evidence", lambda *_: evidence)
    with pytest.raises(NotImplementedYet):
        tests.test_my_circuit(STUB)


def test_a_strong_head_after_all_that_could_read_it_is_neither_required_nor_right(evidence, monkeypatch):
    """It attends from S2 to S1+1 and its queries matter, in a layer after the last important S-inhibition head."""
    patching, attention = evidence.patching.clone(), dict(evidence.attention)
    patching[HEAD_COMPONENTS.index("q"), 11, 1] = 0.5
    for target in POSITIONS:
        attention["S2", target] = attention["S2", target].clone()
        attention["S2", target][11, 1] = 0.9 * (target == "S1+1")
    other = dataclasses.replace(evidence, patching=patching, attention=attention)
    monkeypatch.setattr(test_05_circuit, "measure_evidence", lambda *_: other)
    tests.test_my_circuit(MAIN_HEADS, "induction")
    message = failure(MAIN_HEADS | {"induction": [(5, 5), (6, 9), (11, 1)]}, "induction")
    assert "no important s-inhibition head comes after layer 11" in message


def test_on_gpt2_small_a_published_head_is_never_wrong(evidence, monkeypatch):
    attention = dict(evidence.attention) | {("S2", "S1+1"): evidence.attention["S2", "S1+1"].clone()}
    attention["S2", "S1+1"][5, 8] = 0.1
    other = dataclasses.replace(evidence, attention=attention)
    monkeypatch.setattr(test_05_circuit, "measure_evidence", lambda *_: other)
    assert "5.8 is listed as an induction head" in failure(PUBLISHED, "induction")
    monkeypatch.setattr(test_05_circuit, "model_name", lambda: "gpt2-small")
    tests.test_my_circuit(PUBLISHED, "induction")
    assert "3.0 is listed" in failure(PUBLISHED | {"induction": [(5, 5), (6, 9), (3, 0)]}, "induction")


def test_on_gpt2_small_a_head_that_is_not_published_is_never_missing(evidence, monkeypatch):
    patching = evidence.patching.clone()
    patching[HEAD_COMPONENTS.index("q"), 7, 1] = 0.5
    other = dataclasses.replace(evidence, patching=patching)
    monkeypatch.setattr(test_05_circuit, "measure_evidence", lambda *_: other)
    assert "1 important head is missing" in failure(PUBLISHED, "induction")
    monkeypatch.setattr(test_05_circuit, "model_name", lambda: "gpt2-small")
    tests.test_my_circuit(PUBLISHED, "induction")
    assert "2 important heads are missing" in failure(PUBLISHED | {"induction": [(7, 1)]}, "induction")


def test_classes_and_positions_are_those_of_the_published_file():
    assert set(HEAD_CLASSES) == set(published_results()["circuit"]) == set(published_results()["circuit_acts_at"])
    assert {head_class.acts_at for head_class in HEAD_CLASSES.values()} <= set(POSITIONS)
    assert {head_class.attends_to for head_class in HEAD_CLASSES.values()} <= set(POSITIONS)
    assert {head_class.feeds for head_class in HEAD_CLASSES.values()} - {""} <= set(HEAD_CLASSES)


def test_evidence_has_the_attention_between_named_positions(ioi_mini, evidence):
    model, data = ioi_mini
    _, cache = model.run_with_cache(data.clean_tokens)
    by_prompt = [
        cache["pattern", 9][prompt, 9, data.positions["END"][prompt], data.positions["IO"][prompt]].item()
        for prompt in range(len(data.prompts))
    ]
    assert evidence.attention["END", "IO"][9, 9].item() == pytest.approx(sum(by_prompt) / len(by_prompt), abs=1e-6)
    assert evidence.attention["S1", "S2"].abs().max() == 0  # a causal model does not attend to later positions
    assert evidence.logit_diff == pytest.approx(3.55, abs=0.2)


def test_head_attribution_sums_to_the_logit_difference_of_all_attention_layers(ioi_mini, evidence):
    """The sum over heads equals the contribution of all attention layers, without their biases."""
    model, data = ioi_mini
    _, cache = model.run_with_cache(data.clean_tokens)
    correct, incorrect = model.W_U.T[data.answer_tokens].unbind(1)
    directions = (correct - incorrect) / cache["ln_final.hook_scale"][:, -1]
    attention = sum((cache["attn_out", layer][:, -1] * directions).sum(-1).mean() for layer in range(12))
    biases = sum((model.blocks[layer].attn.b_O * directions).sum(-1).mean() for layer in range(12))
    torch.testing.assert_close(head_attribution(model, data, cache).sum(), attention - biases, atol=1e-3, rtol=1e-4)
    assert evidence.attribution.shape == (12, 12)


def test_evidence_table_has_a_row_for_each_head(evidence):
    rows = evidence_table(evidence, PUBLISHED).splitlines()
    assert rows[0].split() == ["class", "head", "attention", *HEAD_COMPONENTS, "direct"]
    assert len(rows) == 1 + sum(map(len, PUBLISHED.values()))
    (row,) = [row for row in rows if row.startswith("name mover") and " 9.9 " in row]
    shown = [f"{value:.2f}" for value in (evidence.attention["END", "IO"][9, 9], evidence.attribution[9, 9])]
    assert shown[0] in row and row.endswith(shown[1])
    assert len({len(row) for row in rows}) == 1
    assert "-0.00" not in "\n".join(rows)


def test_read_circuit_orders_classes_and_removes_duplicates():
    read = read_circuit({"name mover": {(9, 9), (9, 6)}, "induction": [[5, 5], (5, 5)]})
    assert list(read.items()) == [("induction", [(5, 5)]), ("name mover", [(9, 6), (9, 9)])]


def test_layers_and_heads_must_exist_in_the_model():
    assert read_circuit({"induction": [(23, 15)]}, n_layers=24, n_heads=16) == {"induction": [(23, 15)]}
    with pytest.raises(CircuitError, match="layers go from 0 to 1 and heads from 0 to 3"):
        read_circuit({"induction": [(2, 0)]}, n_layers=2, n_heads=4)
