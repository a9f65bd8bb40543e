"""The fast sweeps: the numbers of transformer_lens.patching for any prompts, or one sentence that says why not."""

import inspect
import shutil
from dataclasses import replace
from unittest import mock

import pytest
import torch
import transformers
from torch.testing import assert_close
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

import utils
from bench import __main__ as benchmark
from bench.cells import patched_cells
from selftests.families import native_model
from selftests.random_gpt2 import TINY_GPT2, VOCABULARY, logit_difference, make_case, save_gpt2, slow
from tests.checks.cases import SweepCase, tiny_cases
from utils import models, progress, sweeps
from utils.sweep_specs import SWEEPS
from utils.sweeps import arithmetic, layers, patched_runs

EVERY = ["get_act_patch_block_every", "get_act_patch_attn_head_all_pos_every", "get_act_patch_attn_head_by_pos_every"]
with_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch comes without oneDNN")


pytestmark = pytest.mark.usefixtures("keep_model_in_use")


def fast(name: str, case: SweepCase, **options) -> torch.Tensor:
    sweep = getattr(sweeps, name)
    return sweep(case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric, **options)


# The same numbers

RAGGED = {
    "one prompt": {"batch": 1},
    "an odd number of prompts": {"batch": 5, "positions": 4, "differing": (1, 2)},
    "one token": {"positions": 1, "differing": (0,)},
    "long prompts that differ early": {"batch": 2, "positions": 21, "differing": (2,)},
    "long prompts that differ late": {"batch": 2, "positions": 21, "differing": (18, 19)},
    "differing from position 0 on": {"positions": 5, "differing": (0, 1, 2, 3, 4)},
    "differing at END only": {"positions": 5, "differing": (4,)},
}


@pytest.mark.parametrize("prompts", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("name", EVERY)
def test_a_sweep_equals_transformer_lens_on_any_prompts(tiny_gpt2, name, prompts):
    case = make_case(tiny_gpt2, **prompts)
    expected = slow(name, case)
    assert_close(fast(name, case), expected)
    unpatched = case.patching_metric(tiny_gpt2(case.corrupted_tokens))
    # Where there is only one token to attend to, queries, keys and patterns change nothing.
    working = ((expected - unpatched).abs() > 1e-3).flatten(1).any(dim=1)
    assert working.all() or (working.any() and case.corrupted_tokens.shape[1] == 1)


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_equals_transformer_lens_on_tiny_models(tiny_gpt2, name):
    case = make_case(tiny_gpt2)
    assert_close(fast(name, case), slow(name, case))
    for case in tiny_cases():
        expected = slow(name, case)
        assert_close(fast(name, case, all_positions=True), expected)
        at_end = replace(case, patching_metric=logit_difference)
        assert_close(fast(name, at_end), slow(name, at_end))


def test_each_row_of_the_table_is_a_documented_sweep_with_the_arguments_of_transformer_lens():
    assert len(SWEEPS) == 17
    for name, spec in SWEEPS.items():
        assert callable(getattr(patching, name))
        sweep = getattr(sweeps, name)
        assert sweep.__name__ == name
        parameters = inspect.signature(sweep).parameters
        assert list(parameters)[:4] == ["model", "corrupted_tokens", "clean_cache", "patching_metric"]
        assert sweep.__doc__.startswith(f"Patch {spec.components[0]}")
        assert f"[{spec.axes}]" in sweep.__doc__


@pytest.mark.parametrize("name", EVERY)
def test_identical_prompts_give_the_corrupted_metric_without_a_patched_run(tiny_gpt2, name):
    case = make_case(tiny_gpt2, differing=())
    with mock.patch.object(patched_runs._LayerByLayer, "run") as run:
        actual = fast(name, case)
    assert not run.called
    assert_close(actual, slow(name, case))


def test_cells_that_cannot_matter_are_the_corrupted_metric_itself(tiny_gpt2):
    case = make_case(tiny_gpt2, positions=6, differing=(3,))
    unpatched = case.patching_metric(tiny_gpt2(case.corrupted_tokens))
    by_pos = fast("get_act_patch_attn_head_by_pos_every", case)
    assert (by_pos[:, :, :3] == unpatched).all()
    z, q, _, _, pattern = by_pos[:, -1]
    for last_layer in (z, q, pattern):
        assert (last_layer[:-1] == unpatched).all()


def test_a_model_without_compatibility_mode_is_served_too(tmp_path):
    hf_model = transformers.AutoModelForCausalLM.from_pretrained(
        save_gpt2(tmp_path, **TINY_GPT2), attn_implementation="eager"
    )
    model = TransformerBridge.boot_transformers(str(tmp_path), hf_model=hf_model, device="cpu")
    case = make_case(model.eval().requires_grad_(False))
    for name in EVERY:
        assert_close(fast(name, case), slow(name, case))


@with_onednn
def test_without_onednn_the_numbers_are_the_same(tiny_gpt2, monkeypatch):
    case = make_case(tiny_gpt2, batch=2)
    by_onednn = {name: fast(name, case) for name in EVERY}
    monkeypatch.setattr(arithmetic, "ONEDNN_IS_THERE", False)
    for name in EVERY:
        assert_close(fast(name, case), by_onednn[name])


@pytest.mark.parametrize("name", arithmetic.ACTIVATIONS)
def test_onednn_applies_each_activation_function(name):
    activation = arithmetic.ACTIVATIONS[name]
    x, W, b = torch.linspace(-3, 3, 24).view(4, 6), torch.linspace(-1, 1, 30).view(5, 6), torch.linspace(-1, 1, 5)
    expected = activation.function(torch.nn.functional.linear(x, W, b))
    assert_close(arithmetic.linear(x, W, b, activation), expected)
    assert_close(arithmetic.linear_and(x, W, None, "mul", expected), torch.nn.functional.linear(x, W) * expected)
    assert_close(arithmetic.linear_and(x, W, b, "add", expected), torch.nn.functional.linear(x, W, b) + expected)


def assert_sampled_cells_close(case: SweepCase, name: str, n_cells: int) -> None:
    """Compare some cells of each component: the largest effects, where a mistake would show, and random ones."""
    spec, result = SWEEPS[name], fast(name, case)
    maps = result if spec.has_component_axis else result.unsqueeze(0)
    unpatched = case.patching_metric(case.model(case.corrupted_tokens))
    random = torch.Generator().manual_seed(0)
    for component, found in zip(spec.components, maps, strict=True):
        flat = (found - unpatched).abs().flatten()
        chosen = torch.cat([flat.topk(n_cells).indices, torch.randint(len(flat), (n_cells,), generator=random)])
        cells = torch.stack(torch.unravel_index(chosen, found.shape), dim=-1)
        expected = patched_cells(
            component, cells, case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric
        )
        assert_close(found[tuple(cells.T)], expected, msg=lambda text, name=component: f"{name}: {text}")


@pytest.fixture(scope="module")
def ioi_mini_case() -> SweepCase:
    model = models.load_model("ioi-mini", "cpu")
    data = utils.load_ioi(model)
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    return SweepCase(model, data.corrupted_tokens, clean_cache, utils.make_ioi_metric(model, data))


@pytest.mark.parametrize("name", [*EVERY, "get_act_patch_resid_mid"])
def test_sweeps_on_ioi_mini_equal_transformer_lens(ioi_mini_case, name):
    assert_sampled_cells_close(ioi_mini_case, name, n_cells=4)


@pytest.mark.slow
def test_sweeps_at_gpt2_smalls_size_equal_transformer_lens(tmp_path):
    model = models.load_model(save_gpt2(tmp_path, initializer_range=0.08), "cpu")
    shutil.rmtree(tmp_path)  # 500 MB that pytest would keep for three more runs
    torch.set_num_threads(1)
    case = make_case(model, batch=1, positions=15, differing=(13,))
    assert_sampled_cells_close(case, "get_act_patch_block_every", n_cells=2)
    assert_sampled_cells_close(case, "get_act_patch_attn_head_all_pos_every", n_cells=2)


# The metric


def loss_of_all_positions(logits: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(dim=-1)[:, :, 3].mean()


@pytest.mark.parametrize("name", EVERY)
def test_a_metric_of_all_positions_can_ask_for_them(tiny_gpt2, name):
    case = make_case(tiny_gpt2, metric=loss_of_all_positions)
    assert_close(fast(name, case, all_positions=True), slow(name, case))


@pytest.mark.parametrize("metric", [loss_of_all_positions, lambda logits: (logits[:, -2].argmax(-1) == 3).sum()])
def test_a_metric_that_reads_other_positions_silently_is_refused(tiny_gpt2, metric):
    case = make_case(tiny_gpt2, metric=lambda logits: logits[:, 0, 0].sum() + metric(logits))
    with pytest.raises(sweeps.SweepError, match=r"other|more .* all_positions=True"):
        fast("get_act_patch_resid_pre", case)


def test_a_metric_gets_logits_of_the_usual_shape_and_may_write_into_them(tiny_gpt2):
    shapes = set()

    def metric(logits: torch.Tensor) -> torch.Tensor:
        shapes.add(tuple(logits.shape))
        logits -= logits.max(dim=-1, keepdim=True).values
        return logits[:, -1, 5].mean()

    case = make_case(tiny_gpt2, metric=metric)
    expected = slow("get_act_patch_block_every", case)
    assert_close(fast("get_act_patch_block_every", case), expected)
    assert_close(fast("get_act_patch_block_every", case, all_positions=True), expected)
    assert shapes == {(3, 7, VOCABULARY)}


@pytest.mark.parametrize("metric", [lambda end: (end.argmax(-1) == 3).sum(), lambda end: (end[:, 5] > end[:, 7]).all()])
def test_a_metric_may_count(tiny_gpt2, metric):
    case = make_case(tiny_gpt2, metric=lambda logits: metric(logits[:, -1]))
    assert_close(fast("get_act_patch_resid_pre", case), slow("get_act_patch_resid_pre", case))


def test_only_the_logits_of_tokens_read_are_computed(tiny_gpt2):
    def metric(logits: torch.Tensor) -> torch.Tensor:
        computed.append(int((~logits[0, -1].isnan()).sum()))
        return logit_difference(logits)

    computed = []
    case = make_case(tiny_gpt2, metric=metric)
    actual = fast("get_act_patch_attn_head_by_pos_every", case, tokens_read=torch.tensor([[7, 5], [5, 7]]))
    assert set(computed) == {VOCABULARY, 2}  # all of them once, for the corrupted run
    assert_close(actual, slow("get_act_patch_attn_head_by_pos_every", case))
    with pytest.raises(sweeps.SweepError, match="tokens_read"):
        fast("get_act_patch_resid_pre", case, tokens_read=torch.tensor([5, 6]))


def test_a_metric_that_is_no_number_is_refused(tiny_gpt2):
    case = make_case(tiny_gpt2, metric=lambda logits: logits[:, -1, 5])
    with pytest.raises(sweeps.SweepError, match=r"shape \[3\].*return a scalar"):
        fast("get_act_patch_resid_pre", case)


# Models and caches that are not served


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"act_fn": "solu_ln"}, "its activation function is solu_ln"),
        ({"attention_dir": "bidirectional"}, "its attention is not causal"),
        ({"attn_scores_soft_cap": 2.0}, "computes something that its parts do not show"),
        ({"output_logits_soft_cap": 2.0}, "computes something that its parts do not show"),
    ],
)
def test_another_architecture_is_refused_in_one_sentence(config, reason):
    assert_refused(make_case(native_model(**config)), reason)


def assert_refused(case: SweepCase, reason: str) -> None:
    with pytest.raises(sweeps.SweepError) as refusal:
        fast("get_act_patch_resid_pre", case)
    message = str(refusal.value)
    assert reason in message
    assert "use transformer_lens.patching" in message
    assert sweeps.why_unsupported(case.model) == message
    assert message.endswith(".") and "\n" not in message


def test_a_model_in_training_mode_is_refused():
    case = make_case(native_model())
    case.model.train()
    assert_refused(case, "training mode")


def test_a_model_with_a_hook_is_refused():
    case = make_case(native_model())
    case.model.add_hook("blocks.0.hook_resid_pre", lambda activation, hook: activation)
    assert_refused(case, "carries hooks")


def test_a_model_of_another_type_is_refused():
    case = make_case(native_model())
    assert_refused(replace(case, model=case.model.double()), "its weights are neither all float32 nor all bfloat16")
    assert "a Linear is not a TransformerBridge" in sweeps.why_unsupported(torch.nn.Linear(2, 2))


def test_a_cache_of_other_prompts_is_refused(tiny_gpt2):
    case = make_case(tiny_gpt2)
    other = replace(case, corrupted_tokens=case.corrupted_tokens[:2])
    with pytest.raises(sweeps.SweepError, match="as many clean prompts as corrupted ones"):
        fast("get_act_patch_resid_pre", other)


# Manners


def test_a_sweep_leaves_no_trace(tiny_gpt2):
    case = make_case(tiny_gpt2)
    kept = {name: tensor.clone() for name, tensor in case.clean_cache.items()}
    tokens, threads = case.corrupted_tokens.clone(), torch.get_num_threads()
    for name in EVERY:
        fast(name, case)
        fast(name, case, all_positions=True)
    for name, tensor in case.clean_cache.items():
        assert torch.equal(tensor, kept[name]), name
    assert torch.equal(case.corrupted_tokens, tokens)
    assert not any(point.fwd_hooks or point.bwd_hooks for point in tiny_gpt2.hook_dict.values())
    assert torch.get_num_threads() == threads


def test_max_memory_bounds_the_batches(tiny_gpt2, monkeypatch):
    case = make_case(tiny_gpt2, batch=4, positions=9, differing=(2,))
    sizes = []
    mlp = layers.Block.mlp
    monkeypatch.setattr(layers.Block, "mlp", lambda self, read, **to: sizes.append(len(read)) or mlp(self, read, **to))

    def largest_batch(**options) -> tuple[int, torch.Tensor]:
        sizes.clear()
        result = fast("get_act_patch_attn_head_all_pos_every", case, **options)
        return max(sizes), result

    patched_positions = 7
    with pytest.raises(sweeps.SweepError, match=r"of these 4 prompts takes about \d+ MiB .* more than max_memory=9000"):
        largest_batch(max_memory=9000)
    some, result_of_some = largest_batch(max_memory=66_000_000)
    many, result_of_many = largest_batch()
    assert 4 * patched_positions <= some < many
    assert many <= patched_runs.ENOUGH_POSITIONS + 4 * patched_positions
    assert_close(result_of_some, result_of_many)


def test_the_progress_bar_is_on_stdout_and_for_long_work_only(tiny_gpt2, monkeypatch, capfd):
    case = make_case(tiny_gpt2)
    fast("get_act_patch_resid_pre", case)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_A_BAR", 0)
    fast("get_act_patch_resid_pre", case)
    out, err = capfd.readouterr()
    assert "run" in out and "100%" in out
    assert err == ""
    fast("get_act_patch_resid_pre", case, progress=False)
    assert capfd.readouterr() == ("", "")


@with_onednn
def test_the_benchmark_counts_the_operations_of_both_libraries():
    x, W, b = torch.ones(4, 100, 24), torch.ones(40, 24), torch.ones(40)
    by_default = benchmark.count_flop(lambda: torch.nn.functional.linear(x, W, b))
    by_onednn = benchmark.count_flop(lambda: arithmetic.linear(x, W, b))
    added = benchmark.count_flop(lambda: arithmetic.linear_and(x, W, b, "add", torch.ones(4, 100, 40)))
    assert by_default == by_onednn == added == 2 * 400 * 24 * 40


@pytest.mark.slow
def test_the_benchmark_writes_its_table(tmp_path):
    results = tmp_path / "results.md"
    benchmark.main(
        ["--models", "ioi-mini", "--sweeps", "resid_pre", "block_every", "--slow-runs", "3", "--out", str(results)]
    )
    text = results.read_text(encoding="utf-8")
    assert "| resid_pre | 180 |" in text
    assert "block_every 3 of 540 runs" in text
    assert "TOO MUCH" not in text
