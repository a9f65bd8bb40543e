"""What `tests.show_difference` draws and says, with maps put in the place of those of a run."""

import pytest
import torch

import tests
import utils
from tests.checks import show_difference
from tests.checks.checking import CheckFailed
from utils.sweep_specs import SWEEPS


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn: the tensor of each, and its options."""
    figures: list[tuple[torch.Tensor, dict]] = []
    monkeypatch.setattr(show_difference, "imshow", lambda tensor, **options: figures.append((tensor, options)))
    return figures


def sweep(name: str, actual: torch.Tensor, expected: torch.Tensor, monkeypatch):
    """A sweep of this name with this result, where the reference has that one."""

    def learners(model, corrupted_tokens, clean_cache, patching_metric):
        return actual

    learners.__name__ = name
    monkeypatch.setattr(show_difference, "reference_sweep", lambda *_: expected)
    return learners


def maps(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    model = utils.model_in_use()
    sizes = {"component": len(SWEEPS[name].components), "layer": model.cfg.n_layers, "head": model.cfg.n_heads}
    shape = [sizes.get(axis, 15) for axis in SWEEPS[name].axes.split()]
    return torch.zeros(shape), torch.zeros(shape)


@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("get_act_patch_resid_pre", (7, 10), "in layer 7 at the position S2: patching resid_pre there closes 92% of"),
        ("get_act_patch_resid_pre", (9, 14), "in layer 9 at the position END: patching resid_pre there"),
        ("get_act_patch_attn_head_out_all_pos", (9, 6), "in layer 9 at head 9.6: patching z there"),
        ("get_act_patch_attn_head_all_pos_every", (3, 8, 10), "in layer 8 at head 8.10: patching v there"),
    ],
)
def test_the_largest_difference_is_told_in_terms_of_the_experiment(name, place, words, drawn, monkeypatch, capsys):
    actual, expected = maps(name)
    expected[place], actual[place] = 0.92, 0.1
    tests.show_difference(sweep(name, actual, expected, monkeypatch))
    printed = capsys.readouterr().out
    assert words in printed and "in your map 10%." in printed
    (tensor, options), (*_, layer, index) = drawn[0], place
    torch.testing.assert_close(tensor[:, layer, index], torch.tensor([0.1, 0.92, -0.82]))
    assert len(options["facet_labels"]) == 3


def test_equal_maps_are_said_to_be_equal(drawn, monkeypatch, capsys):
    tests.show_difference(sweep("get_act_patch_resid_pre", *maps("get_act_patch_resid_pre"), monkeypatch))
    assert "equals that of transformer_lens.patching" in capsys.readouterr().out


def test_what_cannot_be_drawn_is_refused(drawn, monkeypatch):
    with pytest.raises(CheckFailed, match="give the function itself"):
        tests.show_difference(print)
    actual, expected = maps("get_act_patch_resid_pre")
    with pytest.raises(CheckFailed, match=r"the axes \[layer pos\]"):
        tests.show_difference(sweep("get_act_patch_resid_pre", actual.T, expected, monkeypatch))
    assert drawn == []
