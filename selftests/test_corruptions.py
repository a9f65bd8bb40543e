"""The five corruptions: each map equals one computed run by run with hooks, and the noise is where it should be."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from selftests.claim_maps import ioi_mini
from selftests.other_models import llama, pythia, save_other_model
from utils import (
    IOIData,
    corruption_maps,
    load_ioi,
    logits_to_ave_logit_diff,
    models,
    with_names_swapped,
    with_other_names,
)
from utils.corruptions import NOISE, noise_at_s2

pytestmark = pytest.mark.usefixtures("keep_model_in_use")
FAMILIES = {"llama": (llama, None), "pythia": (pythia, "<|begin|>")}


@pytest.fixture(scope="module", params=["ioi-mini", *FAMILIES])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    """A model and the prompts; of ioi-mini some heads are enough."""
    if request.param == "ioi-mini":
        yield (*ioi_mini(), [(3, 0), (4, 11), (9, 9), (10, 7)])
        return
    folder = save_other_model(tmp_path_factory.mktemp("model"), *FAMILIES[request.param])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models, "_in_use", models._in_use)
        model = models.load_model(folder, "cpu")
        yield model, load_ioi(model), [(0, 0), (1, 3), (2, 2)]


def set_head(z: Tensor, hook, head: int, output: Float[Tensor, "batch pos d_head"]) -> Tensor:
    z = z.clone()
    z[:, :, head] = output
    return z


def add_noise(embeddings: Tensor, hook, data: IOIData, noise: Float[Tensor, "batch d_model"]) -> Tensor:
    embeddings = embeddings.clone()
    for prompt, position in enumerate(data.positions["S2"]):
        embeddings[prompt, position] += noise[prompt]
    return embeddings


def slow_entry(model: TransformerBridge, data: IOIData, corruption: str, head: tuple[int, int]) -> float:
    """The entry of a map, from three whole runs with the hooks of transformer_lens."""

    def logit_diff(tokens: Tensor, hooks: list) -> float:
        return logits_to_ave_logit_diff(model.run_with_hooks(tokens, fwd_hooks=hooks), data.answer_tokens).item()

    layer, index = head
    name = get_act_name("z", layer)
    _, cache = model.run_with_cache(data.clean_tokens)
    clean = logit_diff(data.clean_tokens, [])
    if corruption == "mean ablation":
        _, cache = model.run_with_cache(with_other_names(model, data))
        mean = torch.stack([cache[name][prompt, :, index] for prompt in range(8)]).mean(0)
        return 1 - logit_diff(data.clean_tokens, [(name, partial(set_head, head=index, output=mean))]) / clean
    noise = NOISE * model.W_E.std() * torch.randn(8, model.cfg.d_model, generator=torch.Generator().manual_seed(0))
    hooks = [("hook_embed", partial(add_noise, data=data, noise=noise))] if corruption == "noise at S2" else []
    tokens = {
        "S2 swap": data.corrupted_tokens,
        "all names swapped": with_names_swapped(data),
        "other names": with_other_names(model, data),
        "noise at S2": data.clean_tokens,
    }[corruption]
    corrupted = logit_diff(tokens, hooks)
    patched = logit_diff(tokens, [*hooks, (name, partial(set_head, head=index, output=cache[name][:, :, index]))])
    return (patched - corrupted) / (clean - corrupted)


def test_each_map_equals_one_computed_run_by_run(case) -> None:
    model, data, heads = case
    maps = corruption_maps(model, data)
    assert list(maps) == ["S2 swap", "all names swapped", "other names", "noise at S2", "mean ablation"]
    for name, entries in maps.items():
        expected = torch.tensor([slow_entry(model, data, name, head) for head in heads])
        found = torch.stack([entries[head] for head in heads])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_the_maps_are_the_same_in_every_call(case) -> None:
    model, data, _ = case
    first, second = corruption_maps(model, data), corruption_maps(model, data)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("case", FAMILIES, indirect=True)  # of three layers
def test_without_the_fast_sweeps_those_of_transformer_lens_give_the_same(case, monkeypatch) -> None:
    model, data, _ = case
    fast = corruption_maps(model, data)
    monkeypatch.setattr("utils.sweeps.why_unsupported", lambda model: "It is another model.")
    slow = corruption_maps(model, data)
    for name in fast:
        torch.testing.assert_close(fast[name], slow[name], rtol=1e-3, atol=1e-3)


def test_noise_changes_the_embeddings_at_s2_alone_and_ends_with_its_block() -> None:
    model, data = ioi_mini()
    before = first_residuals(model, data)
    with noise_at_s2(model, data):
        changed = (first_residuals(model, data) != before).any(-1)
    assert changed.nonzero().tolist() == [[prompt, 10] for prompt in range(8)]
    assert torch.equal(first_residuals(model, data), before)


def first_residuals(model: TransformerBridge, data: IOIData) -> Float[Tensor, "batch pos d_model"]:
    _, cache = model.run_with_cache(data.clean_tokens)
    return cache["resid_pre", 0].clone()
