"""The check of `surviving_claims`, on right and wrong lists, and on a model with other heads."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

import tests
from selftests.claim_maps import ioi_mini
from selftests.other_models import pythia, save_other_model
from tests.checks.checking import CheckFailed, NotImplementedYet
from tests.test_07_testing_the_evidence import find_counterexamples
from utils import claim_heads, corruption_maps, load_ioi, models

pytestmark = pytest.mark.usefixtures("keep_model_in_use")


@pytest.fixture(scope="module")
def maps() -> dict[str, torch.Tensor]:
    return corruption_maps(*ioi_mini())


@pytest.fixture
def known_maps(maps, monkeypatch) -> None:
    """Measure once for all lists."""
    monkeypatch.setattr("tests.test_07_testing_the_evidence.corruption_maps", lambda model, data: maps)


@pytest.mark.parametrize("right", [["A", "F"], ["F", "A"], ("A", "F"), {"F", "A"}, ["A", "F", "A"], list("FA")])
def test_the_surviving_claims_pass_in_any_order(right, known_maps, capsys) -> None:
    tests.test_surviving_claims(right)
    assert capsys.readouterr() == ("surviving_claims: all checks passed.\n", "")


WRONG = {
    "one too many": (["A", "C", "F"], "C fails: under all names swapped, 8.6 has 0.04"),
    "those of the S2 swap": (list("ABCDEF"), "B fails: under all names swapped, 5.5 has 0.02"),
    "a claim of another sign": (["A", "D", "F"], "D fails: under other names, 9.6 has 0.5"),
    "a claim of no effect": (["A", "E", "F"], "E fails: under all names swapped, 4.11 has 0.35"),
    "one missing": (["A"], "1 that holds everywhere is missing"),
    "none": ([], "2 that hold everywhere are missing"),
    "two mistakes": (["B", "F"], "5.5 has 0.02; 1 that holds everywhere is missing"),
    "a string": ("AF", "a list of letters from A to F"),
    "small letters": (["a", "f"], "a list of letters from A to F"),
    "heads": ([(9, 9), (10, 7)], "a list of letters from A to F"),
    "a list that cannot be hashed": ([["A"]], "a list of letters from A to F"),
    "a dictionary": ({"A": True, "F": True}, "a list of letters from A to F"),
    "a tensor": (torch.tensor([0, 5]), "a list of letters from A to F"),
    "None": (None, "a list of letters from A to F"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_lists_are_refused_with_the_number_that_contradicts(name: str, known_maps) -> None:
    answer, words = WRONG[name]
    with pytest.raises(CheckFailed) as caught:
        tests.test_surviving_claims(answer)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 4


def test_the_stub_is_not_begun() -> None:
    with pytest.raises(NotImplementedYet, match="surviving_claims is not implemented yet"):
        tests.test_surviving_claims(...)


@pytest.mark.parametrize("shift", [0.002, -0.002])
def test_what_survives_does_not_hang_on_the_last_digit(shift: float, maps) -> None:
    """Other arithmetic moves a number of the maps by 0.001 at most."""
    survives = {letter: not found for letter, found in find_counterexamples(maps).items()}
    moved = find_counterexamples({name: effects + shift for name, effects in maps.items()})
    assert {letter: not found for letter, found in moved.items()} == survives


@pytest.fixture
def small_model(tmp_path: Path, monkeypatch) -> Iterator[TransformerBridge]:
    """A random model with four heads, in use."""
    folder = save_other_model(tmp_path, partial(pythia, n_layers=2, n_heads=2), "<|begin|>")
    monkeypatch.setenv("IOI_MODEL", str(folder))
    monkeypatch.setenv("IOI_DEVICE", "cpu")
    monkeypatch.setattr(models, "_in_use", None)
    yield models.load_model()


def test_with_few_heads_some_claims_are_about_the_same_one(small_model) -> None:
    measured = corruption_maps(small_model, load_ioi(small_model))
    heads = claim_heads(measured)
    assert heads["A"] == heads["E"]
    assert len({*heads.values()} - {heads["F"]}) <= 4
    surviving = [letter for letter, found in find_counterexamples(measured).items() if not found]
    tests.test_surviving_claims(surviving)
    with pytest.raises(CheckFailed):
        tests.test_surviving_claims([letter for letter in "ABCDEF" if letter not in surviving])
