"""The mystery model: the same outputs and other numbers of heads; and the check of a circuit found in it."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import transformers
from transformer_lens.model_bridge import TransformerBridge

import tests
from grading.course import read_settings
from selftests import REPOSITORY
from selftests.circuits import ALL_HEADS, MAIN_HEADS, STUB, Broken
from selftests.families import FAMILIES, VOCABULARY, save_model
from selftests.other_models import llama, save_other_model
from tests import test_08_mystery_model
from tests.checks.checking import CheckFailed, NotImplementedYet
from tests.test_05_circuit import GRADED
from tests.test_08_mystery_model import FAITHFULNESS, permuted
from utils import WorkbookError, models, progress
from utils.circuit import Circuit, Evidence, measure_evidence, published_circuit
from utils.models import n_key_value_heads
from utils.mystery import head_order, mystery_model, normalized_seed

SEED = "Ada Lovelace"
BLOOM = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)
"""A family in which each head attends less to far positions by a slope of its own, which depends on its number."""
ONE_HEAD = transformers.GPT2Config(vocab_size=VOCABULARY, n_layer=2, n_head=1, n_embd=24, n_positions=64)


@pytest.fixture(scope="module")
def loaded() -> TransformerBridge:
    return models.load_model("ioi-mini", device="cpu")


@pytest.fixture
def ioi_mini(loaded: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> TransformerBridge:
    monkeypatch.setenv("IOI_MODEL", "ioi-mini")
    monkeypatch.setattr(models, "_in_use", ("ioi-mini", loaded))
    return loaded


@pytest.fixture
def in_use(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test load other models, and restore the one that was in use."""
    monkeypatch.delenv("IOI_MODEL", raising=False)
    monkeypatch.setattr(models, "_in_use", None)


def renamed(circuit: Circuit, seed: int | str = SEED) -> Circuit:
    """A circuit of ioi-mini with the numbers that its heads have in the mystery model."""
    number = head_order(seed).argsort()
    return {name: [(layer, int(number[layer, head])) for layer, head in heads] for name, heads in circuit.items()}


# The model


def assert_permuted(model: TransformerBridge, seed: str = SEED) -> None:
    """The heads of the mystery model write what those of the model write, in another order; the logits are the same."""
    copy, order = mystery_model(seed), head_order(seed)
    tokens = torch.arange(1, 13).reshape(2, 6)
    logits, cache = model.run_with_cache(tokens)
    other_logits, other_cache = copy.run_with_cache(tokens)
    torch.testing.assert_close(other_logits, logits, rtol=1e-4, atol=1e-4)
    size = model.cfg.n_heads // n_key_value_heads(model)
    for layer, heads in enumerate(order):
        for name in ("q", "z", "pattern"):
            axis = 1 if name == "pattern" else 2
            expected = cache[name, layer].index_select(axis, heads)
            torch.testing.assert_close(other_cache[name, layer], expected, rtol=1e-4, atol=1e-4)
        for name in ("k", "v"):
            expected = cache[name, layer][:, :, heads[::size] // size]
            torch.testing.assert_close(other_cache[name, layer], expected, rtol=1e-4, atol=1e-4)
        assert sorted(heads.tolist()) == list(range(model.cfg.n_heads))
        assert (heads != torch.arange(model.cfg.n_heads)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_permuted_and_computes_the_same(family: str, in_use, tmp_path: Path) -> None:
    assert_permuted(models.load_model(save_model(tmp_path, FAMILIES[family]), "cpu"))


def test_groups_of_three_query_heads_stay_together(in_use, tmp_path: Path) -> None:
    build = partial(llama, n_layers=30, n_heads=9, n_kv_heads=3)
    assert_permuted(models.load_model(save_other_model(tmp_path, build), "cpu"))
    groups = head_order(SEED).view(30, 3, 3) // 3
    assert (groups == groups[:, :, :1]).all()


def test_ioi_mini_is_permuted_and_all_other_weights_are_shared(ioi_mini: TransformerBridge) -> None:
    assert_permuted(ioi_mini)
    before = ioi_mini.W_Q.clone()
    copy = mystery_model(SEED)
    own = {parameter.data_ptr() for parameter in ioi_mini.parameters()}
    added = sum(parameter.numel() for parameter in copy.parameters() if parameter.data_ptr() not in own)
    attention = sum(weight.numel() for weight in (ioi_mini.W_Q, ioi_mini.W_K, ioi_mini.W_V, ioi_mini.W_O))
    assert attention <= added <= 1.02 * attention
    assert torch.equal(ioi_mini.W_Q, before) and not torch.equal(copy.W_Q, before)
    assert models.model_in_use() is ioi_mini


@pytest.mark.parametrize("config", [BLOOM, ONE_HEAD], ids=["slopes by the number of a head", "one head in each layer"])
def test_a_model_whose_heads_cannot_be_permuted_is_an_error_of_one_sentence(config, in_use, tmp_path: Path) -> None:
    models.load_model(save_model(tmp_path, config), "cpu")
    with pytest.raises(WorkbookError, match=r"^[A-Z][^\n]*(permuted|order)[^\n]*: load another"):
        mystery_model(SEED)


def test_a_model_without_the_parts_is_an_error_of_one_sentence(ioi_mini, monkeypatch) -> None:
    monkeypatch.delitem(ioi_mini.blocks[0].attn._modules, "q")
    with pytest.raises(WorkbookError, match="cannot be permuted without"):
        mystery_model(SEED)


def test_a_seed_gives_the_same_order_on_every_machine(ioi_mini: TransformerBridge) -> None:
    assert head_order(SEED)[3].tolist() == [9, 4, 10, 7, 1, 11, 3, 6, 5, 2, 0, 8]
    assert not torch.equal(head_order(SEED), head_order("Ada Lovelacf"))


@pytest.mark.parametrize("seed", ["ada lovelace", " ADA  Lovelace\n", "\uff21da Lovelace"])
def test_what_does_not_count_in_a_seed(seed: str, ioi_mini) -> None:
    assert torch.equal(head_order(seed), head_order(SEED))
    assert normalized_seed(7) == normalized_seed(" 7")


@pytest.mark.parametrize("seed", [None, 1.5, True, ["Ada"], b"Ada"])
def test_another_kind_of_seed_is_an_error_of_one_sentence(seed: object) -> None:
    with pytest.raises(WorkbookError, match=r"^A seed is a name or a whole number, not .*: write for example"):
        normalized_seed(seed)


def test_the_copy_has_no_hooks_of_the_model(ioi_mini: TransformerBridge) -> None:
    ioi_mini.add_hook("blocks.0.attn.hook_z", lambda z, hook: z * 0)
    tokens = torch.arange(1, 9)[None]
    zeroed, logits = ioi_mini(tokens), mystery_model(SEED)(tokens)
    assert not torch.allclose(zeroed, logits, atol=1e-3)
    torch.testing.assert_close(ioi_mini(tokens), logits, rtol=1e-4, atol=1e-4)


def test_the_evidence_is_that_of_the_model_in_use_permuted(ioi_mini: TransformerBridge) -> None:
    """Both are measured here, with other sweeps; the check measures only the model in use."""
    measured = measure_evidence(mystery_model(SEED), fast=True)
    expected = permuted(measure_evidence(ioi_mini), head_order(SEED))
    torch.testing.assert_close(measured.patching, expected.patching, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(measured.attribution, expected.attribution, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(measured.attention, expected.attention, rtol=1e-4, atol=1e-5)
    assert measured.logit_diff == pytest.approx(expected.logit_diff, abs=1e-4)


# The check

PUBLISHED = published_circuit()
RIGHT = {
    "the main heads": MAIN_HEADS,
    "as published": PUBLISHED,
    "sets": {name: set(heads) for name, heads in MAIN_HEADS.items()},
    "heads as lists": {name: [list(head) for head in heads] for name, heads in MAIN_HEADS.items()},
    "classes in another order": dict(reversed(MAIN_HEADS.items())),
    "a third name mover": MAIN_HEADS | {"name mover": [(9, 6), (9, 9), (10, 0)]},
    "anything among the backups": MAIN_HEADS | {"backup name mover": [(1, 1)]},
}
EVERY_HEAD = {name: ALL_HEADS for name in STUB}
# What is wrong -> the circuit under ioi-mini's names, the part that is checked, and words of the message.
WRONG = {
    "an s-inhibition head as a name mover": (
        MAIN_HEADS | {"name mover": [(9, 9), (9, 6), (7, 3)]},
        "name mover",
        "is listed as a name mover, but at END it attends to S2 (0.",
    ),
    "a negative name mover as a name mover": (
        MAIN_HEADS | {"name mover": [(9, 9), (9, 6), (10, 7)]},
        "name mover",
        "is listed as a name mover, but it adds -",
    ),
    "one missing": (MAIN_HEADS | {"induction": [(5, 5)]}, "induction", "1 important head is missing"),
    "a class left empty": (MAIN_HEADS | {"s-inhibition": []}, "s-inhibition", "4 important heads are missing"),
    "every head in each class": (EVERY_HEAD, None, "more heads in it do not fit"),
    "every head of the model": ({"name mover": ALL_HEADS}, FAITHFULNESS, "144 heads"),
    "every head of the late layers": (
        {"name mover": [head for head in ALL_HEADS if head[0] > 8]},
        FAITHFULNESS,
        "at most 28 heads",
    ),
    "without previous-token heads": (
        MAIN_HEADS | {"previous token": []},
        FAITHFULNESS,
        "0.32 of it\n  hint:     what do the induction heads read at S1+1",
    ),
    "without negative name movers": (
        MAIN_HEADS | {"negative name mover": []},
        FAITHFULNESS,
        "1.51 of it\n  hint:     which heads write against the answer?",
    ),
    "without name movers": (MAIN_HEADS | {"name mover": []}, FAITHFULNESS, "0.30 of it\n  hint:     add the classes"),
    "one class in the place of another": (
        MAIN_HEADS | {"name mover": [*MAIN_HEADS["name mover"], *MAIN_HEADS["induction"]], "induction": []},
        FAITHFULNESS,
        "without induction 0.81, with it 0.81",
    ),
    "a class that does no work": (
        MAIN_HEADS | {"duplicate token": [(1, 1)], "backup name mover": [(3, 0)]},
        FAITHFULNESS,
        "without duplicate token 0.81, with it 0.81",
    ),
}


@pytest.fixture(scope="module")
def evidence(loaded: TransformerBridge) -> Evidence:
    return measure_evidence(loaded)


@pytest.fixture
def checked(ioi_mini: TransformerBridge, evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ioi-mini be checked with evidence that is measured once, and however busy the machine is without a bar."""
    monkeypatch.setattr(test_08_mystery_model, "measure_evidence", lambda *_: evidence)
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_A_BAR", 1000)


def failure(circuit: object, part: str | None = None, seed: object = SEED) -> str:
    with pytest.raises(CheckFailed) as caught:
        tests.test_my_mystery_circuit(circuit, seed, part)
    message = str(caught.value)
    assert len(message.splitlines()) <= 8
    assert max(map(len, message.splitlines())) < 400
    return message


@pytest.mark.parametrize("circuit", RIGHT.values(), ids=RIGHT)
def test_right_circuit_passes(circuit, checked, capsys) -> None:
    if any(isinstance(head, list) for head in circuit["name mover"]):
        circuit = {name: [list(head) for head in heads] for name, heads in renamed(circuit).items()}
    else:
        circuit = {name: type(circuit[name])(heads) for name, heads in renamed(circuit).items()}
    capsys.readouterr()
    assert tests.test_my_mystery_circuit(circuit, SEED) is None
    written = capsys.readouterr()
    assert (written.out, written.err) == ("my_mystery_circuit: all checks passed.\n", "")


def test_each_part_has_its_own_verdict(checked, capsys, monkeypatch) -> None:
    capsys.readouterr()
    right = renamed(MAIN_HEADS)
    wrong = right | {"name mover": right["induction"], "induction": []}
    for part in (*GRADED, FAITHFULNESS):
        tests.test_my_mystery_circuit(right, SEED, part)
        if part in ("name mover", "induction", FAITHFULNESS):
            failure(wrong, part)
        else:
            tests.test_my_mystery_circuit(wrong, SEED, part)
    passed = capsys.readouterr().out.splitlines()
    assert len(passed) == 9
    # By what the setting names, grading tells a pass from points that no check gave.
    monkeypatch.chdir(REPOSITORY)
    assert all(read_settings().config.ClassGrading.pass_prints in line for line in passed)


@pytest.mark.parametrize(("circuit", "part", "words"), WRONG.values(), ids=WRONG)
def test_wrong_circuit_fails_with_a_message_that_names_the_problem(circuit, part, words, checked, capsys) -> None:
    assert words in failure(renamed(circuit), part)
    assert "passed" not in capsys.readouterr().out


@pytest.mark.parametrize("part", [*GRADED, None])
@pytest.mark.parametrize("circuit", [MAIN_HEADS, PUBLISHED], ids=["main heads", "published"])
def test_the_heads_of_the_model_in_use_fail_and_the_hint_says_so(circuit, part, checked) -> None:
    assert "these are heads of the model in use, which have other numbers in the mystery model" in failure(
        circuit, part
    )


@pytest.mark.parametrize("circuit", [MAIN_HEADS, PUBLISHED], ids=["main heads", "published"])
def test_the_heads_of_the_model_in_use_are_not_faithful(circuit, checked) -> None:
    failure(circuit, FAITHFULNESS)


@pytest.mark.parametrize("part", [*GRADED, FAITHFULNESS, None])
def test_the_circuit_of_another_seed_fails(part, checked) -> None:
    message = failure(renamed(MAIN_HEADS, "Grace Hopper"), part)
    assert "these are heads of the model in use" not in message


@pytest.mark.parametrize(
    "circuit", [None, 9, [(9, 9)], {"mover": []}, {"induction": [(5, 12)]}, {"induction": "5.5"}, Broken(a=1)]
)
def test_what_is_no_circuit_fails(circuit, checked) -> None:
    assert failure(circuit).startswith("my_mystery_circuit ")


@pytest.mark.parametrize("circuit", [STUB, {}])
@pytest.mark.parametrize("part", [None, *GRADED, FAITHFULNESS])
@pytest.mark.parametrize("seed", ["", SEED])
def test_a_stub_is_not_implemented_yet(circuit, part, seed, checked) -> None:
    with pytest.raises(NotImplementedYet, match="my_mystery_circuit is not implemented yet"):
        tests.test_my_mystery_circuit(circuit, seed, part)


@pytest.mark.parametrize(
    ("seed", "words"), [("", "your name or number"), ("  ", "your name"), (None, "not None"), (1.5, "not 1.5")]
)
def test_a_circuit_without_a_seed_fails(seed, words, checked) -> None:
    message = failure(MAIN_HEADS, "induction", seed)
    assert message.startswith("my_seed chooses ") and words in message


def test_a_missing_head_is_not_named(checked) -> None:
    circuit = renamed(MAIN_HEADS)
    for name in GRADED:
        message = failure(circuit | {name: circuit[name][1:]}, name)
        assert all(f"{layer}.{head} " not in message for layer, head in circuit[name][:1])


def test_a_class_without_heads_on_this_model_is_named_and_passes_empty(checked, evidence, monkeypatch, capsys) -> None:
    other = dataclasses.replace(evidence, attribution=evidence.attribution.clamp(min=0))
    monkeypatch.setattr(test_08_mystery_model, "measure_evidence", lambda *_: other)
    tests.test_my_mystery_circuit(renamed(MAIN_HEADS) | {"negative name mover": []}, SEED, "negative name mover")
    assert "requires no head of these classes: negative name mover.\n" in capsys.readouterr().out


def test_where_the_evidence_gives_no_faithful_circuit_none_is_required(checked, evidence, monkeypatch, capsys) -> None:
    idle = dataclasses.replace(evidence, patching=torch.zeros_like(evidence.patching))
    monkeypatch.setattr(test_08_mystery_model, "measure_evidence", lambda *_: idle)
    tests.test_my_mystery_circuit({"name mover": [(1, 1)]}, SEED, FAITHFULNESS)
    assert "no\ncircuit is required to give more." in capsys.readouterr().out


def test_on_gpt2_small_a_published_head_is_never_wrong(checked, evidence, monkeypatch) -> None:
    attention = dict(evidence.attention) | {("S2", "S1+1"): evidence.attention["S2", "S1+1"].clone()}
    attention["S2", "S1+1"][5, 8] = 0.1
    monkeypatch.setattr(
        test_08_mystery_model, "measure_evidence", lambda *_: dataclasses.replace(evidence, attention=attention)
    )
    failure(renamed(PUBLISHED), "induction")
    monkeypatch.setattr(test_08_mystery_model, "model_name", lambda: "gpt2-small")
    tests.test_my_mystery_circuit(renamed(PUBLISHED), SEED, "induction")


def test_a_check_leaves_no_hooks(checked) -> None:
    tests.test_my_mystery_circuit(renamed(MAIN_HEADS), SEED)
    assert not any(point.fwd_hooks for point in models.model_in_use().hook_dict.values())
