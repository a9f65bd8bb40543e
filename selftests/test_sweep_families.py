"""The fast sweeps on each family of models: the numbers of transformer_lens.patching."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close
from transformer_lens import patching
from transformer_lens.utilities import get_act_name

from bench.__main__ import MIB
from selftests.families import FAMILIES, LARGE_LLAMA, NATIVE, boot, native_model, save_model
from selftests.random_gpt2 import logit_difference, make_case, slow
from tests.checks.cases import SweepCase
from utils import models, sweeps
from utils.sweep_specs import SWEEPS

pytestmark = pytest.mark.usefixtures("keep_model_in_use")


@pytest.fixture(scope="module", params=[*FAMILIES, *NATIVE])
def family_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SweepCase:
    """A model as the workbook loads it, and prompts that differ from their second token on."""
    if request.param in NATIVE:
        return make_case(native_model(**NATIVE[request.param]), batch=2, positions=5, differing=(1, 3))
    folder = save_model(tmp_path_factory.mktemp("family"), FAMILIES[request.param])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models, "_in_use", models._in_use)
        return make_case(models.load_model(folder, "cpu"), batch=2, positions=5, differing=(1, 3))


def fast(name: str, case: SweepCase, **options: Any) -> torch.Tensor:
    sweep = getattr(sweeps, name)
    return sweep(case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric, **options)


def expected_maps(case: SweepCase) -> Iterator[tuple[str, torch.Tensor | None]]:
    """Yield transformer_lens's result of each sweep, or None where it finds no such activation.

    A stack of maps is stacked by transformer_lens, but from the maps that it computed before.
    """
    single_maps = {}
    for name, spec in SWEEPS.items():
        if any(get_act_name(component, 0) not in set(case.clean_cache) for component in spec.components):
            with pytest.raises(KeyError):
                slow(name, case)
            yield name, None
            continue
        with mock.patch.multiple(patching, tqdm=list, **single_maps), warnings.catch_warnings(action="ignore"):
            result = slow(name, case)  # with warnings that OPT discards what a hook does to the pattern
        if not spec.has_component_axis:
            single_maps[name] = lambda *_, result=result, **__: result.clone()
        yield name, result


def test_every_sweep_equals_transformer_lens_on_each_family(family_case):
    model = family_case.model
    assert sweeps.why_unsupported(model) == ""
    unpatched = family_case.patching_metric(model(family_case.corrupted_tokens))
    discards_patterns = type(model.adapter).__name__ == "OptArchitectureAdapter"
    for name, expected in expected_maps(family_case):
        if expected is None:
            with pytest.raises(sweeps.SweepError, match=r"There is no blocks\.0\.hook_.*, so it cannot be patched\."):
                fast(name, family_case)
            continue
        assert_close(fast(name, family_case), expected, msg=lambda text, name=name: f"{name}: {text}")
        no_effect = SWEEPS[name].components == ("pattern",) and discards_patterns
        assert ((expected - unpatched).abs().max() < 1e-6) == no_effect, name


@pytest.mark.parametrize("family", ["GPT-2", "Pythia", "Llama"])
def test_prompts_and_metrics_of_any_kind_on_models_without_compatibility_mode(family):
    """Long prompts take another kind of attention than short ones."""
    model = boot(FAMILIES[family])
    name = "get_act_patch_attn_head_all_pos_every"
    case = make_case(model, batch=2, positions=21, differing=(1,))
    assert_close(fast(name, case), slow(name, case))
    case = make_case(model, positions=4, differing=(1,), metric=lambda logits: logits[:, :, 3].mean())
    for name in ("get_act_patch_block_every", "get_act_patch_attn_head_all_pos_every"):
        assert_close(fast(name, case, all_positions=True), slow(name, case))


def test_a_model_in_bfloat16_gives_what_transformer_lens_gives_up_to_its_rounding():
    """The logits reach 8, where numbers in bfloat16 are 1/16 apart."""
    model = boot(FAMILIES["Llama"], dtype=torch.bfloat16)
    case = make_case(model, metric=lambda logits: logit_difference(logits.float()))
    assert sweeps.why_unsupported(model) == ""
    for name in ("get_act_patch_block_every", "get_act_patch_attn_head_all_pos_every"):
        expected = slow(name, case)
        assert expected.std() > 0.1
        assert_close(fast(name, case), expected, atol=0.1, rtol=0)


@pytest.mark.slow
def test_sweeps_on_a_model_of_a_billion_parameters_stay_within_max_memory(tmp_path):
    case = make_case(boot(LARGE_LLAMA, dtype=torch.bfloat16, largest=0.05), batch=8, positions=15, differing=(13,))
    name, bound = "get_act_patch_attn_head_out_all_pos", 128 * MIB
    with pytest.raises(sweeps.SweepError, match="more than max_memory"):
        fast(name, case, max_memory=64 * MIB)
    result, peak = with_peak_of_tensors(lambda: fast(name, case, max_memory=bound), tmp_path / "trace.json")
    assert result.isfinite().all()
    assert bound / 4 < peak < bound


def with_peak_of_tensors(function: Callable[[], torch.Tensor], trace: Path) -> tuple[torch.Tensor, int]:
    """What the function returns, and the most bytes of tensors that it made at a time.

    What the process takes from the system depends on the machine, and on what the process has done before.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = function()
    profiler.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    return result, max(event["args"]["Total Allocated"] for event in events if event.get("name") == "[memory]")
