"""The lab without a browser: what its fields accept, its maps and code, what a patch did, and its widgets' events."""

import itertools
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from plotly.basedatatypes import BaseFigure
from transformer_lens.model_bridge import TransformerBridge

import utils
from selftests.claim_maps import ioi_mini
from selftests.other_models import llama, pythia, save_other_model
from tests.checks.cases import one_thread
from utils import models
from utils.lab_widgets import view
from utils.lab_widgets.cells import Cell, cell_at, patch_cell, read_cell
from utils.lab_widgets.maps import (
    DIRECTIONS,
    METRICS,
    Choice,
    Runs,
    Stopped,
    code,
    compute_map,
    number_of_runs,
    run_pairs,
)
from utils.lab_widgets.prompts import FieldError, first_fields, read_pairs, token_table
from utils.lab_widgets.view import Lab
from utils.sweep_specs import BLOCK_COMPONENTS, HEAD_COMPONENTS

CHOICES = [
    *(Choice(component, direction=direction) for component in BLOCK_COMPONENTS for direction in DIRECTIONS),
    *(Choice(component, by_position) for component in HEAD_COMPONENTS for by_position in (True, False)),
    *(Choice("z", False, "noising", metric) for metric in METRICS),
]


@pytest.fixture(scope="module")
def model() -> Iterator[TransformerBridge]:
    with one_thread():
        yield ioi_mini()[0]


@pytest.fixture(scope="module")
def fields(model) -> dict[str, str]:
    return first_fields(model)


@pytest.fixture(scope="module")
def runs(model, fields) -> Runs:
    return run_pairs(model, read_pairs(model, fields))


# Prompts


LONG = "and " * 100 + "to"
HOSTILE = [
    ("clean", "", "Write a prompt"),
    ("clean", "When John and Mary went to the flurb, John gave the bag to", "does not know 'flurb'"),
    ("clean", "<img src=x onerror=alert(1)> John gave the bag to", "does not know 'img'"),
    ("clean", "When " + LONG, "The model takes at most 64 tokens"),
    ("corrupted", "When Mary gave the bag to", "Every prompt must have as many tokens as the first"),
    ("corrupted", "When John and Mary went to the shops, John gave the bag to", "Both prompts are the same"),
    ("corrupted", "When Mary gave\nWhen John gave", "Write as many prompts as in the field above, one a line: 1."),
    ("corrupted", "🙂\0", "does not know '🙂"),
    ("correct", "", "Write one word, or one for each prompt (1), and not 0."),
    ("correct", "Xyzzy", "is 6 tokens for this model"),
    ("correct", "New York", "Write one word"),
    ("incorrect", "Mary", "Both answers are the same"),
]


@pytest.mark.parametrize(("field", "text", "sentence"), HOSTILE)
def test_a_field_that_cannot_be_used_gets_its_sentence(model, fields, field, text, sentence) -> None:
    written = fields | {field: text}
    if LONG in text:
        written["corrupted"] = text.replace("When", "After")
    with pytest.raises(FieldError) as refused:
        read_pairs(model, written)
    assert refused.value.field == field
    assert sentence in str(refused.value)


def test_several_prompts_have_an_answer_each_or_one_for_all(model, fields) -> None:
    swapped = {"clean": "corrupted", "corrupted": "clean"}
    two = fields | {name: f"{fields[name]}\n{fields[other]}" for name, other in swapped.items()}
    pairs = read_pairs(model, two | {"correct": "Mary John", "incorrect": "John Mary"})
    data = utils.load_ioi(model, two["clean"].split("\n"), [(" Mary", " John"), (" John", " Mary")])
    assert torch.equal(pairs.tokens["clean"], data.clean_tokens)
    assert torch.equal(pairs.tokens["corrupted"], data.corrupted_tokens)
    assert torch.equal(pairs.answer_tokens, data.answer_tokens)
    assert read_pairs(model, two | {"incorrect": "Tom"}).answers == [(" Mary", " Tom")] * 2


def test_the_tokens_are_aligned_and_what_differs_is_marked(runs) -> None:
    table = token_table(runs.pairs)
    assert table.count("<mark>") == 2
    assert "<b><mark>John</mark></b>" in table and "<b><mark>Mary</mark></b>" in table
    assert table.count("<td>") == 3 * 15
    assert "&lt;|endoftext|&gt;" in table


# Maps and their code


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_code_and_the_cells_give_the_numbers_of_the_map(model, runs, choice) -> None:
    assert_map_code_and_cell_agree(model, runs, choice)


def assert_map_code_and_cell_agree(model: TransformerBridge, runs: Runs, choice: Choice) -> None:
    result, variables = compute_map(model, runs, choice), {"model": model}
    exec(code(model, runs.pairs, choice, {}), variables)
    of_code = variables["result"]
    torch.testing.assert_close(of_code.transpose(1, 2) if choice.spec.axes == "layer pos head" else of_code, result)
    *facet, row, column = place = utils.topk_of_Nd_tensor(result.abs(), 1)[0]
    cell = cell_at(choice, *(facet or [0]), row, column)
    assert patch_cell(model, runs, choice, cell).value == pytest.approx(result[place].item(), abs=1e-3)
    assert read_cell(cell.name(runs.pairs.labels), model, choice, runs.pairs.labels) == cell


def test_the_first_map_is_that_of_the_data_set_for_one_prompt(model, runs) -> None:
    data = utils.load_ioi(model, runs.pairs.prompts["clean"] + runs.pairs.prompts["corrupted"], utils.ANSWERS[:2])
    _, cache = model.run_with_cache(data.clean_tokens[:1])
    before, after = (
        utils.logits_to_ave_logit_diff(model(tokens[:1]), data.answer_tokens[:1])
        for tokens in (data.corrupted_tokens, data.clean_tokens)
    )
    expected = utils.sweeps.get_act_patch_resid_pre(
        model,
        data.corrupted_tokens[:1],
        cache,
        lambda logits: (utils.logits_to_ave_logit_diff(logits, data.answer_tokens[:1]) - before) / (after - before),
    )
    torch.testing.assert_close(compute_map(model, runs, Choice()), expected)


@pytest.mark.parametrize(
    ("build", "bos", "why_not_fast"),
    [(partial(llama, n_heads=9, n_kv_heads=3), None, ""), (pythia, "<|begin|>", ""), (llama, None, "not this one")],
)
def test_maps_and_cells_of_other_models(build, bos, why_not_fast, tmp_path, keep_model_in_use, monkeypatch) -> None:
    model = models.load_model(save_other_model(tmp_path, build, bos))
    if why_not_fast:
        monkeypatch.setattr(utils.sweeps, "why_unsupported", lambda model: why_not_fast)
    runs = run_pairs(model, read_pairs(model, first_fields(model)))
    for choice in (Choice(), Choice("k", False), Choice("pattern", False), Choice("v", not why_not_fast)):
        assert_map_code_and_cell_agree(model, runs, choice)


def test_the_code_calls_what_its_reader_has_written(model, runs) -> None:
    def written(*arguments):
        return arguments

    def stub(*arguments):
        raise NotImplementedError

    def call(choice: Choice, **names) -> str:
        return code(model, runs.pairs, choice, names).split("result = ")[1]

    every = {"get_act_patch_attn_head_all_pos_every": written}
    assert call(Choice(), get_act_patch_resid_pre=written).startswith("get_act_patch_resid_pre(")
    assert call(Choice(), get_act_patch_resid_pre=stub).startswith("utils.sweeps.get_act_patch_resid_pre(")
    assert call(Choice("q", False), **every).startswith("get_act_patch_attn_head_all_pos_every(")
    assert call(Choice("q", False), **every).endswith(")[1]\n")
    assert call(Choice("q", True), **every).startswith("utils.sweeps.")


def test_a_share_of_nothing_is_refused(model, fields) -> None:
    runs = run_pairs(model, read_pairs(model, fields))
    same = Runs(runs.pairs, dict.fromkeys(runs.logits, runs.logits["clean"]), runs.caches)
    with pytest.raises(utils.WorkbookError, match="no share of it"):
        compute_map(model, same, Choice())
    assert torch.isfinite(compute_map(model, same, Choice(metric="difference"))).all()


def test_the_bar_counts_nearly_all_runs(model, runs) -> None:
    for choice in (Choice(), Choice("z", False), Choice("k", True)):
        counted: list[None] = []
        compute_map(model, runs, choice, lambda counted=counted: counted.append(None))
        assert 0.9 < len(counted) / number_of_runs(model, runs.pairs, choice) < 1.05


@pytest.mark.parametrize("why_not_fast", ["", "not this one"])
def test_a_map_can_be_stopped_at_any_run(model, runs, why_not_fast, monkeypatch) -> None:
    monkeypatch.setattr(utils.sweeps, "why_unsupported", lambda model: why_not_fast)
    counted = itertools.count()

    def stop_at_the_fifth() -> None:
        if next(counted) == 5:
            raise Stopped

    with pytest.raises(Stopped):
        compute_map(model, runs, Choice(), stop_at_the_fifth)
    assert next(counted) == 6
    torch.testing.assert_close(model(runs.pairs.tokens["clean"]), runs.logits["clean"])


# Cells


def test_a_cell_says_what_the_patch_did(model, runs) -> None:
    effect = patch_cell(model, runs, Choice("z", False), Cell(9, 9))
    probabilities = runs.logits["corrupted"][0, -1].softmax(-1)
    assert effect.before[0] == (" John", pytest.approx(probabilities.max().item()))
    clean, corrupted, patched = (effect.logit_diffs[run][0] for run in ("clean", "corrupted", "patched"))
    assert effect.value == pytest.approx((patched - corrupted) / (clean - corrupted), abs=1e-4)
    assert torch.equal(effect.attention["corrupted"], runs.caches["corrupted"]["pattern", 9][0, 9])


@pytest.mark.parametrize("text", ["9", "9.12", "12.0", "9.9 at to 14", "nine", "9.9.9", "-1.0", "<b>"])
def test_a_name_of_no_cell_is_refused(model, runs, text) -> None:
    with pytest.raises(utils.WorkbookError, match=r"write one such as 11\.0"):
        read_cell(text, model, Choice("z", False), runs.pairs.labels)


def test_a_position_may_be_its_number(model, runs) -> None:
    assert read_cell(" 5 10 ", model, Choice(), runs.pairs.labels) == Cell(5, pos=10)
    assert read_cell("9.9 at 14", model, Choice("z"), runs.pairs.labels) == Cell(9, 9, 14)


# Widgets


@pytest.fixture
def lab(model, fields, runs) -> Iterator[Lab]:
    lab = Lab(model, fields, runs, compute_map(model, runs, Choice()))
    yield lab
    lab.worker.shutdown()


def set_inputs(lab: Lab, **values) -> None:
    for name, value in values.items():
        lab.inputs[name].value = value
    lab.wait()
    lab.wait()  # for what the first jobs have asked for


def shown(lab: Lab) -> str:
    return " ".join(child.value for child in lab.effects.children)


def test_choosing_shows_the_map_and_a_click_its_cell(lab) -> None:
    set_inputs(lab, component="z", by_position=False)
    assert lab.map.layout.title.text == "Patching z, denoising: share of the logit difference"
    (trace,) = lab.map.data
    torch.testing.assert_close(torch.tensor(trace.z), lab.result)
    lab._clicked(trace, SimpleNamespace(point_inds=[[9, 9]], trace_index=0), None)
    lab.wait()
    assert f"z 9.9: {lab.result[9, 9]:.3f}" in shown(lab)
    lab.buttons["Pin"].click()
    set_inputs(lab, cell="10.7")
    assert shown(lab).startswith("Pinned: <b>z 9.9") and "z 10.7" in shown(lab)
    assert shown(lab).count("Attention, clean run") == shown(lab).count("Attention, corrupted run") == 2
    set_inputs(lab, by_position=True)
    assert len(lab.map.data) == 12 and "no cell" in lab.sentences["cell"].value
    lab.buttons["Unpin"].click()
    assert "9.9" not in shown(lab)


def test_a_change_of_the_prompts_is_shown_and_a_mistake_leaves_all_as_it_was(lab, fields) -> None:
    set_inputs(lab, component="z", by_position=False, cell="9.9")
    before, tokens = shown(lab), lab.tokens.value
    set_inputs(lab, corrupted="Mary <b>")
    assert "&lt;" in lab.sentences["corrupted"].value
    assert (shown(lab), lab.tokens.value) == (before, tokens)
    set_inputs(lab, corrupted=fields["corrupted"].replace("Mary gave", "Tom gave"))
    assert lab.sentences["corrupted"].value == ""
    assert "Tom" in lab.tokens.value and shown(lab) != before


def test_stop_leaves_the_last_map_and_a_later_choice_stops_an_earlier_one(lab, monkeypatch) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def compute(model, runs, choice, on_run):
        begun.set()
        while True:
            assert not stopped.wait(0.01)
            on_run()

    monkeypatch.setattr(view, "compute_map", compute)
    before = lab.result
    lab.inputs["component"].value = "z"
    assert begun.wait(10)
    lab.buttons["Stop"].click()
    lab.wait()
    assert lab.result is before and lab.sentences["map"].value == "Stopped. This is still the last map."
    begun.clear()
    lab.inputs["component"].value = "q"
    assert begun.wait(10)
    monkeypatch.undo()
    set_inputs(lab, component="k")
    assert lab.choice == Choice("k")
    assert lab.buttons["Stop"].disabled


def test_an_error_on_the_thread_is_shown(lab, monkeypatch) -> None:
    monkeypatch.setattr(view, "compute_map", lambda *_: 1 / 0)
    set_inputs(lab, component="z")
    assert lab.sentences["map"].value == "ZeroDivisionError: division by zero"


def test_a_saved_state_is_restored(lab, fields, tmp_path: Path) -> None:
    set_inputs(lab, component="z", by_position=False, cell="9.9", file=str(tmp_path / "lecture.json"))
    lab.buttons["Pin"].click()
    set_inputs(lab, cell="10.7")
    before = shown(lab)
    lab.buttons["Save"].click()
    lab.buttons["Unpin"].click()
    set_inputs(lab, component="resid_pre", direction="noising", cell="", corrupted="")
    lab.buttons["Load"].click()
    lab.wait()
    lab.wait()
    assert shown(lab) == before
    assert lab.choice == Choice("z", False)
    assert lab.inputs["corrupted"].value == fields["corrupted"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pinned": [], "inputs": {"component": "nothing"}}', "null", "\0"])
def test_a_file_that_was_not_saved_changes_nothing(lab, tmp_path: Path, text) -> None:
    (tmp_path / "lab.json").write_text(text, encoding="utf-8")
    set_inputs(lab, file=str(tmp_path / "lab.json"))
    before = {name: widget.value for name, widget in lab.inputs.items()}
    lab.buttons["Load"].click()
    assert "has not saved" in lab.sentences["file"].value
    assert {name: widget.value for name, widget in lab.inputs.items()} == before


def test_a_missing_file_and_a_missing_folder_are_named(lab, tmp_path: Path) -> None:
    set_inputs(lab, file=str(tmp_path / "no" / "lab.json"))
    for button in ("Save", "Load"):
        lab.buttons[button].click()
        assert "No such file" in lab.sentences["file"].value


# Where there are no widgets


def test_without_a_front_end_a_line_says_so_and_the_first_map_is_shown(model, monkeypatch, capsys) -> None:
    figures: list = []
    monkeypatch.setattr(BaseFigure, "show", lambda figure: figures.append(figure))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("VSCODE_PID", raising=False)
    utils.lab(model)
    printed = capsys.readouterr()
    assert printed.out == "The lab shows its first map only, because it needs a notebook that is open in a browser.\n"
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    monkeypatch.setitem(sys.modules, "anywidget", None)
    utils.lab(model)
    assert capsys.readouterr().out == "The lab shows its first map only, because anywidget is missing.\n"
    assert len(figures) == 2 and printed.err == ""


def test_an_exported_page_shows_the_first_map(model, monkeypatch) -> None:
    bundles: list = []
    monkeypatch.setattr(sys.modules["utils.lab_widgets"], "display", lambda bundle, raw: bundles.append(bundle))
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    utils.lab(model)
    (bundle,) = bundles
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "The lab's first map only" in bundle["text/html"]
