"""The machinery that tries mutants of the solutions on the checks; `make mutations` tries them all."""

import dataclasses

import pytest

from selftests import mutations
from selftests.mutants import Mutant, all_mutants, mutate
from tests.exercises import FUNCTIONS


@pytest.fixture(scope="module")
def everything() -> list[Mutant]:
    return list(all_mutants())


@pytest.fixture(scope="module")
def wrong_axis(everything) -> Mutant:
    return next(m for m in everything if m.diff[1].startswith("corrupted_pattern[head_index, :] ="))


@pytest.fixture(scope="module")
def no_reset(everything) -> Mutant:
    return next(m for m in everything if m.exercise == "get_act_patch_attn_head_out_all_pos" and m.diff[1] == "pass")


def test_every_solution_has_mutants(everything):
    assert {mutant.exercise for mutant in everything} == set(FUNCTIONS)
    assert len(everything) > 200
    assert len({mutant.name for mutant in everything}) == len(everything)


def test_no_mutant_is_the_solution_or_another_mutant(everything):
    assert all(mutant.source != mutant.original for mutant in everything)
    assert len({(mutant.exercise, mutant.source) for mutant in everything}) == len(everything)


@pytest.mark.parametrize(
    ("source", "mutated"),
    [
        ("f(x)", "pass"),
        ("for i in range(n): pass", "for i in range(1, n): pass"),
        ("for i in range(n): pass", "for i in range(n - 1): pass"),
        ("x[:, i]", "x[i, :]"),
        ("x[:, i]", "x[:, :]"),
        ("a - b", "a + b"),  # one of mutmut's own
    ],
)
def test_mutate(source, mutated):
    assert mutated in list(mutate(source))


def test_a_mistake_is_killed_and_an_equivalent_is_not(wrong_axis, no_reset):
    assert mutations.is_killed(wrong_axis)
    assert not mutations.why_equivalent(wrong_axis)
    assert not mutations.is_killed(no_reset)
    assert mutations.why_equivalent(no_reset)


def test_a_figure_without_labels_is_equivalent_and_one_without_patterns_is_not(everything):
    figures = {m.diff: m for m in everything if m.exercise == "plot_mean_attention"}
    without_labels = figures["x=labels,", "x=None,"]
    assert not mutations.is_killed(without_labels)
    assert mutations.why_equivalent(without_labels)
    without_patterns = figures["patterns,", "None,"]
    assert mutations.is_killed(without_patterns)
    assert not mutations.why_equivalent(without_patterns)


def test_the_solution_itself_survives(wrong_axis):
    assert not mutations.is_killed(dataclasses.replace(wrong_axis, source=wrong_axis.original))


@pytest.mark.parametrize("source", ["def", "1 / 0", "def patch_attn_patterns(*args, **kwargs):\n    while True: pass"])
def test_what_cannot_run_or_never_ends_is_killed(source, wrong_axis, monkeypatch):
    monkeypatch.setattr(mutations, "SECONDS", 1)
    assert mutations.is_killed(dataclasses.replace(wrong_axis, source=source))


def test_an_error_of_the_check_itself_is_not_taken_for_a_kill(wrong_axis, monkeypatch):
    def broken(function):
        raise ZeroDivisionError

    monkeypatch.setattr(mutations, "_checks", lambda exercise: [broken])
    with pytest.raises(ZeroDivisionError):
        mutations.is_killed(wrong_axis)


def test_the_report_names_equivalents_and_survivors(wrong_axis, no_reset, monkeypatch, capsys):
    assert mutations.main([wrong_axis, no_reset]) == 0
    printed = capsys.readouterr().out
    assert f"equivalent {no_reset.name}: no hook is on the model" in printed
    assert "2 mutants: 1 killed, 1 equivalent, 0 survive" in printed
    monkeypatch.setattr(mutations, "EQUIVALENT", ())
    assert mutations.main([wrong_axis, no_reset]) == 1
    printed = capsys.readouterr().out
    assert f"SURVIVES {no_reset.name}\n  - model.reset_hooks()\n  + pass\n" in printed
    assert "50.0% of those that are mistakes are killed" in printed
