"""The workbook on models of other families, sizes and tokenizers: the data set, the checks, and all notebooks."""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import transformers
from plotly.basedatatypes import BaseFigure
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

import utils
from selftests.answer_bank import RIGHT, exercise_of, notebook_variables, refusal
from selftests.other_models import llama, pythia, save_other_model
from selftests.prose import notebooks
from tests.checks import sweeps
from tests.checks.cases import one_thread
from tests.checks.sweeps import why_not_on_the_loaded_model
from tests.exercises import RESID_PRE_FAST
from utils import ANSWERS, PROMPTS, ioi, models

FAMILIES = {"llama": (llama, None), "pythia": (pythia, "<|begin|>")}
"""The builder of a model, and its tokenizer's beginning-of-sequence token; None where it has none."""
OF_EACH_EXERCISE = list({exercise_of(answer): answer for answer in RIGHT}.values())


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build, bos = FAMILIES[request.param]
    return save_other_model(tmp_path_factory.mktemp(request.param), build, bos)


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[TransformerBridge]:
    """A tiny model of another family, in use in this module's tests."""
    with in_use(folder), one_thread():
        yield models.model_in_use()


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Load a model, as with `IOI_MODEL`, and restore the one that was in use."""
    with patch.dict(os.environ, IOI_MODEL=str(folder), IOI_DEVICE="cpu"), patch.object(models, "_in_use", None):
        models.load_model()
        yield


@pytest.fixture
def only_on_this_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checks of sweeps leave out their random models, on which other tests try the same answers."""
    monkeypatch.setattr(sweeps, "_check_on_tiny_models", lambda *_, **__: None)


@pytest.fixture(scope="module")
def notebook(model: TransformerBridge) -> dict[str, object]:
    return notebook_variables()


@pytest.mark.parametrize("answer", OF_EACH_EXERCISE, ids=lambda answer: answer.stem)
def test_a_right_answer_to_each_exercise_is_accepted_on_every_family(
    answer: Path, notebook, only_on_this_model
) -> None:
    assert refusal(answer, notebook) is None


# Rotary positions and shared keys and values are what Pythia's family has, and more.
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["llama"], indirect=True)
@pytest.mark.parametrize("answer", [a for a in RIGHT if a not in OF_EACH_EXERCISE], ids=lambda answer: answer.stem)
def test_every_right_answer_is_accepted_on_another_family(answer: Path, notebook, only_on_this_model) -> None:
    assert refusal(answer, notebook) is None


LARGE = {
    "30 layers, 9 heads, 3 heads of keys and values": (partial(llama, n_layers=30, n_heads=9, n_kv_heads=3), None),
    "pythia": (partial(pythia, n_layers=2, n_heads=2), "<|begin|>"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_all_notebooks_run_on_another_model(name: str, only_on_this_model, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("IOI_CACHE", str(tmp_path / "cache"))
    build, bos = LARGE[name]
    with in_use(save_other_model(tmp_path / "model", build, bos)):
        printed = {notebook: run(notebook) for notebook in notebooks()}
    assert "This model has" in printed["00_introduction"]
    code = [cell.source for notebook in notebooks().values() for cell in notebook.cells if cell.cell_type == "code"]
    checks = sum(source.count(".test_") for source in code)
    assert sum(text.count(" checks passed.\n") for text in printed.values()) == checks


def run(name: str) -> str:
    """Run all code cells of a notebook, checks too, and return what they print."""
    variables: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed, patch.object(BaseFigure, "show", lambda *_, **__: None):
        for cell in notebooks()[name].cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{name}, {cell.id}", "exec"), variables)
    return printed.getvalue()


# The data set


def test_names_and_sentences_that_do_not_fit_the_tokenizer_are_replaced(model: TransformerBridge, capsys) -> None:
    ioi._printed.clear()
    data = utils.load_ioi(model)
    assert data.clean_tokens.shape == (8, 15)
    assert data.prompts[:4] == PROMPTS[:4]
    assert data.prompts[4] == "When Aaron and Dan went to the shops, Aaron gave the bag to"
    assert data.answers[4:] == [(" Dan", " Aaron"), (" Aaron", " Dan"), (" Andrew", " Amy"), (" Amy", " Andrew")]
    printed = capsys.readouterr().out
    assert printed.startswith("Changed to suit this model's tokenizer: prompt 4 (When Aaron and Dan went to the shops,")
    assert re.findall(r"(\d) \(", printed) == ["4", "5", "6", "7"]
    assert printed.count("\n") == 1
    utils.load_ioi(model)
    assert capsys.readouterr().out == ""


def test_prompts_of_ones_own_are_never_changed(model: TransformerBridge) -> None:
    with pytest.raises(utils.PromptError, match="does not know"):
        utils.load_ioi(model, PROMPTS[4:], ANSWERS[4:])


def test_a_tokenizer_that_splits_all_names_is_an_error_of_one_sentence(model: TransformerBridge, monkeypatch) -> None:
    monkeypatch.setattr(ioi, "NAMES", ["Martin", "Zbigniew"])
    with pytest.raises(utils.PromptError, match="tokenizer has too few of our 2 names as single tokens, and"):
        utils.load_ioi(model)


def test_an_unknown_name_does_not_fit(model: TransformerBridge, monkeypatch) -> None:
    john = model.to_tokens(" John", prepend_bos=False)[0].item()
    monkeypatch.setattr(type(model.tokenizer), "unk_token_id", john, raising=False)
    assert "John" not in " ".join(utils.load_ioi(model).prompts)


# Blocks, maps and heads


def test_a_block_called_alone_takes_positions_and_mask_of_the_last_run(model: TransformerBridge) -> None:
    tokens = utils.load_ioi(model).clean_tokens
    logits, cache = model.run_with_cache(tokens)
    twice = cache["resid_pre", 1].repeat(2, 1, 1)
    for block in model.blocks[1:]:
        twice = block(twice)[0]
    torch.testing.assert_close(model.unembed(model.ln_final(twice)), logits.repeat(2, 1, 1))


def test_the_fast_sweep_is_checked_on_the_loaded_model(model: TransformerBridge) -> None:
    assert why_not_on_the_loaded_model(RESID_PRE_FAST, model, utils.load_ioi(model)) == ""


def test_a_model_that_is_more_than_its_blocks_is_not_used_to_check_the_fast_sweep(model, monkeypatch) -> None:
    data = utils.load_ioi(model)
    logits, cache = model.run_with_cache(data.corrupted_tokens)
    monkeypatch.setattr(model, "run_with_cache", lambda tokens: (30 * torch.tanh(logits / 30) + 1, cache))
    assert "computes more than its blocks" in why_not_on_the_loaded_model(RESID_PRE_FAST, model, data)


def test_the_five_maps_of_shared_keys_and_values_are_those_of_transformer_lens(model: TransformerBridge) -> None:
    data, name = utils.load_ioi(model), "get_act_patch_attn_head_all_pos_every"
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    metric = utils.make_ioi_metric(model, data)
    with patch.object(patching, "tqdm", wraps=list):
        expected = getattr(patching, name)(model, data.corrupted_tokens, clean_cache, metric)
    torch.testing.assert_close(utils.reference_sweep(name, model, data), expected, rtol=1e-4, atol=1e-4)


def test_a_query_head_has_the_entry_of_the_keys_that_it_reads(model: TransformerBridge) -> None:
    maps = torch.arange(12.0).reshape(3, 4)
    shared = [[0, 0, 1, 1], [4, 4, 5, 5], [8, 8, 9, 9]]
    assert utils.by_query_head(model, maps).tolist() == (shared if model.cfg.n_key_value_heads == 2 else maps.tolist())


def test_on_another_model_its_own_strongest_heads_take_the_place_of_those_of_the_text(model) -> None:
    effects = torch.tensor([[0.0, 3.0], [2.0, -4.0]])
    assert utils.heads_or_strongest([(9, 9), (8, 6)], effects) == [(0, 1), (1, 0)]
    assert len(utils.heads_or_strongest([(9, 9)] * 9, effects)) == 4


def test_the_published_map_is_called_that_of_another_model(model: TransformerBridge) -> None:
    published = utils.published_beside(torch.zeros(3, 4), "head_out_all_pos")
    assert "(published): another model, whose layers and heads are not those of this one</summary>" in published.data


def test_a_model_without_attention_heads_is_refused_in_one_sentence(tmp_path: Path) -> None:
    def mamba(d_vocab: int) -> transformers.PreTrainedModel:
        config = transformers.MambaConfig(vocab_size=d_vocab, hidden_size=16, num_hidden_layers=2, state_size=4)
        return transformers.MambaForCausalLM(config)

    folder = save_other_model(tmp_path, mamba, "<|begin|>")
    with pytest.raises(utils.ModelError, match=r"has no blocks\.0\.hook_attn_out to patch: choose a model"):
        utils.load_model(folder, "cpu")
