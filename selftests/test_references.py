"""Reference sweeps: equal to `transformer_lens.patching`, computed once, and never taken for another's."""

import dataclasses
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
from transformer_lens import patching

import utils
from tests.checks.cases import VOCABULARY, tiny_cases
from utils import (
    ANSWERS,
    PROMPTS,
    IOIData,
    load_ioi,
    make_ioi_metric,
    models,
    progress,
    published_patching,
    references,
)
from utils.memoized_forward import memoized_forward
from utils.sweep_specs import SWEEPS as ALL_SWEEPS

SWEEPS = [
    "get_act_patch_resid_pre",
    "get_act_patch_block_every",
    "get_act_patch_attn_head_out_all_pos",
    "get_act_patch_attn_head_all_pos_every",
]
RESID_PRE = SWEEPS[0]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("IOI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny_model():
    return next(tiny_cases()).model


@pytest.fixture
def tiny_data() -> IOIData:
    """Random prompts; a sweep needs tokens and answers only."""
    random = torch.Generator().manual_seed(1)
    tokens = torch.randint(VOCABULARY, (4, 5), generator=random)
    return IOIData(
        prompts=[],
        answers=[],
        clean_tokens=tokens,
        corrupted_tokens=tokens.roll(2, dims=0),
        answer_tokens=torch.randint(VOCABULARY, (4, 2), generator=random),
        positions={},
        labels=[],
        str_tokens=[],
    )


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """The names of the sweeps that were computed, and so not found on disk."""
    names = []
    compute = references._compute

    def compute_and_count(spec, *arguments):
        names.append(spec.name)
        return compute(spec, *arguments)

    monkeypatch.setattr(references, "_compute", compute_and_count)
    return names


def direct(name: str, model, data: IOIData) -> torch.Tensor:
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    return slow(name, data, clean_cache, model)


def slow(name: str, data: IOIData, clean_cache, model) -> torch.Tensor:
    return getattr(patching, name)(model, data.corrupted_tokens, clean_cache, make_ioi_metric(model, data))


@pytest.mark.parametrize("name", ALL_SWEEPS)
def test_reference_equals_transformer_lens(name, tiny_model, tiny_data):
    expected = direct(name, tiny_model, tiny_data)
    torch.testing.assert_close(utils.reference_sweep(name, tiny_model, tiny_data), expected)
    torch.testing.assert_close(utils.reference_sweep(name, tiny_model, tiny_data), expected)


@pytest.mark.slow
def test_reference_on_ioi_prompts_equals_transformer_lens():
    model = utils.model_in_use()
    data = load_ioi(model, PROMPTS[:2], ANSWERS[:2])
    name = "get_act_patch_attn_head_out_all_pos"
    torch.testing.assert_close(utils.reference_sweep(name, model, data), direct(name, model, data))


def test_hooks_left_on_the_model_do_not_enter_the_reference(tiny_model, tiny_data):
    expected = direct(RESID_PRE, tiny_model, tiny_data)
    tiny_model.add_hook("blocks.1.hook_resid_pre", lambda activation, hook: activation * 0)
    torch.testing.assert_close(utils.reference_sweep(RESID_PRE, tiny_model, tiny_data), expected)


def test_second_call_reads_from_disk(tiny_model, tiny_data, monkeypatch):
    first = utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)

    def must_not_compute(*arguments):
        raise AssertionError("computed a second time")

    monkeypatch.setattr(references, "_compute", must_not_compute)
    torch.testing.assert_close(utils.reference_sweep(RESID_PRE, tiny_model, tiny_data), first, rtol=0, atol=0)


def result_file(cache_folder: Path) -> Path:
    """The file of the only result."""
    (file,) = (file for file in cache_folder.iterdir() if "suffixes" not in file.name)
    return file


def suffix_file(cache_folder: Path) -> Path:
    (file,) = cache_folder.glob("*-suffixes.safetensors")
    return file


def test_result_and_suffixes_are_one_file_each(tiny_model, tiny_data, cache_folder):
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    assert {file.name.split("-")[0] for file in cache_folder.iterdir()} == {RESID_PRE}
    assert {result_file(cache_folder), suffix_file(cache_folder)} == set(cache_folder.iterdir())


def test_another_weight_is_another_result(tiny_model, tiny_data, computed):
    before = utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    tiny_model.state_dict()["blocks.1.attn.v.bias"][3] += 1
    after = utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    assert len(computed) == 2
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("field", ["clean_tokens", "corrupted_tokens", "answer_tokens"])
def test_another_token_is_another_result(field, tiny_model, tiny_data, computed):
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    changed = getattr(tiny_data, field).clone()
    changed[0, 1] = (changed[0, 1] + 1) % VOCABULARY
    utils.reference_sweep(RESID_PRE, tiny_model, dataclasses.replace(tiny_data, **{field: changed}))
    assert len(computed) == 2


def test_clean_and_corrupted_exchanged_is_another_result(tiny_model, tiny_data, computed):
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    exchanged = dataclasses.replace(
        tiny_data, clean_tokens=tiny_data.corrupted_tokens, corrupted_tokens=tiny_data.clean_tokens
    )
    utils.reference_sweep(RESID_PRE, tiny_model, exchanged)
    assert len(computed) == 2


def test_another_sweep_is_another_result(tiny_model, tiny_data, computed):
    for name in SWEEPS:
        utils.reference_sweep(name, tiny_model, tiny_data)
    assert len(computed) == len(set(computed)) == 3 + 5


def test_a_sweep_over_several_components_runs_only_those_not_cached(tiny_model, tiny_data, computed):
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    utils.reference_sweep("get_act_patch_block_every", tiny_model, tiny_data)
    utils.reference_sweep("get_act_patch_block_every", tiny_model, tiny_data)
    assert computed == [RESID_PRE, "get_act_patch_attn_out", "get_act_patch_mlp_out"]


def test_another_setting_of_the_same_weights_is_another_result(tiny_model, tiny_data, computed):
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    tiny_model.cfg.eps *= 2
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    assert len(computed) == 2


def test_the_same_model_in_another_folder_is_the_same_model(tmp_path, monkeypatch, computed):
    monkeypatch.setattr(models, "_in_use", models._in_use)
    name = os.environ["IOI_MODEL"]
    copy = shutil.copytree(models.find_model_folder(name), tmp_path / "a copy")
    for model in (utils.load_model(name), utils.load_model(copy)):
        utils.reference_sweep("get_act_patch_attn_head_out_all_pos", model, load_ioi(model, PROMPTS[:2], ANSWERS[:2]))
    assert len(computed) == 1


@pytest.mark.parametrize("damage", [lambda content: content[:-8], lambda content: b"", lambda content: b"not a tensor"])
def test_a_damaged_file_is_computed_again(damage, tiny_model, tiny_data, cache_folder, computed):
    first = utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    file = result_file(cache_folder)
    file.write_bytes(damage(file.read_bytes()))
    torch.testing.assert_close(utils.reference_sweep(RESID_PRE, tiny_model, tiny_data), first)
    torch.testing.assert_close(utils.reference_sweep(RESID_PRE, tiny_model, tiny_data), first)
    assert len(computed) == 2


def test_a_cache_folder_that_cannot_be_made_is_done_without(tiny_model, tiny_data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a regular file")
    monkeypatch.setenv("IOI_CACHE", str(tmp_path / "file" / "cache"))
    expected = direct(RESID_PRE, tiny_model, tiny_data)
    torch.testing.assert_close(utils.reference_sweep(RESID_PRE, tiny_model, tiny_data), expected)


def test_a_cache_folder_that_takes_no_file_is_done_without(tiny_model, tiny_data, monkeypatch):
    def disk_is_full(tensors, filename):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(references, "save_file", disk_is_full)
    monkeypatch.setattr("utils.memoized_forward.save_file", disk_is_full)
    expected = direct(RESID_PRE, tiny_model, tiny_data)
    torch.testing.assert_close(utils.reference_sweep(RESID_PRE, tiny_model, tiny_data), expected)


@pytest.mark.parametrize("name", SWEEPS[:2])
def test_suffixes_are_cached_for_the_same_sweep(name, tiny_model, tiny_data):
    assert len(references.cached_suffixes(name, tiny_model, tiny_data)) == 0
    utils.reference_sweep(name, tiny_model, tiny_data)
    suffixes = references.cached_suffixes(name, tiny_model, tiny_data)
    model_again = next(tiny_cases()).model
    _, clean_cache = model_again.run_with_cache(tiny_data.clean_tokens)
    with (
        mock.patch.object(suffixes, "find", wraps=suffixes.find) as find,
        memoized_forward(model_again, suffix_cache=suffixes),
    ):
        again = slow(name, tiny_data, clean_cache, model_again)
    assert find.call_count == len(suffixes) > tiny_data.clean_tokens.shape[1] / 2
    assert all(suffixes.find(call.args[0]) is not None for call in find.call_args_list)
    assert torch.equal(again, utils.reference_sweep(name, tiny_model, tiny_data))


@pytest.mark.parametrize("instead", [{"clean_tokens": 1}, {"corrupted_tokens": 1}])
def test_suffixes_of_other_prompts_are_not_found(instead, tiny_model, tiny_data):
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    others = {field: getattr(tiny_data, field).roll(by, dims=1) for field, by in instead.items()}
    assert len(references.cached_suffixes(RESID_PRE, tiny_model, dataclasses.replace(tiny_data, **others))) == 0


def test_suffixes_of_another_arithmetic_are_not_found(tiny_model, tiny_data, monkeypatch):
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    assert len(references.cached_suffixes(RESID_PRE, tiny_model, tiny_data)) > 0
    for module, ask, answer in ((torch, "get_num_threads", 99), (torch.backends.cpu, "get_cpu_capability", "other")):
        with monkeypatch.context() as patch:
            patch.setattr(module, ask, lambda answer=answer: answer)
            assert len(references.cached_suffixes(RESID_PRE, tiny_model, tiny_data)) == 0


def test_compute_references_computes_what_is_missing(tiny_model, tiny_data, cache_folder, computed):
    references.compute_references(tiny_model, tiny_data)
    assert len(computed) == len(set(computed)) == 3 + 5
    references.compute_references(tiny_model, tiny_data)
    for name in SWEEPS:
        utils.reference_sweep(name, tiny_model, tiny_data)
        assert len(references.cached_suffixes(name, tiny_model, tiny_data)) > 0
    assert len(computed) == 8
    suffixes, result = sorted(cache_folder.glob(f"{RESID_PRE}-*"), key=lambda file: "suffixes" not in file.name)
    suffixes.write_bytes(suffixes.read_bytes()[:-8])
    assert len(references.cached_suffixes(RESID_PRE, tiny_model, tiny_data)) == 0
    references.compute_references(tiny_model, tiny_data)
    result.unlink()
    references.compute_references(tiny_model, tiny_data)
    assert computed[8:] == [RESID_PRE, RESID_PRE]


def test_the_progress_is_text_on_stdout(tiny_model, tiny_data, monkeypatch, capfd):
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_A_BAR", 0)
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    out, err = capfd.readouterr()
    assert "100%" in out
    assert "runs/s]" in out
    assert err == ""


def test_nothing_goes_to_stderr(tiny_model, tiny_data, capfd):
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    utils.reference_sweep(RESID_PRE, tiny_model, tiny_data)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resid_pre", (12, 15)),
        ("block_every", (3, 12, 15)),
        ("head_out_all_pos", (12, 12)),
        ("head_all_pos_every", (5, 12, 12)),
        ("head_by_pos_every", (5, 12, 15, 12)),
    ],
)
def test_published_results_have_the_documented_shape(name, shape):
    published = published_patching(name)
    assert published.shape == shape
    assert published.isfinite().all()


def test_published_results_agree_with_each_other():
    torch.testing.assert_close(published_patching("block_every")[0], published_patching("resid_pre"))
    torch.testing.assert_close(published_patching("head_all_pos_every")[0], published_patching("head_out_all_pos"))


def test_published_patches_before_s2_change_nothing():
    torch.testing.assert_close(published_patching("resid_pre")[:, :10], torch.zeros(12, 10), rtol=0, atol=1e-5)


def test_an_unknown_name_is_answered_with_the_known_ones(tiny_model, tiny_data):
    for ask in (published_patching, lambda name: utils.reference_sweep(name, tiny_model, tiny_data)):
        with pytest.raises(utils.WorkbookError, match=r"'resid_post': choose one of .*resid_pre, .*\.$"):
            ask("resid_post")
