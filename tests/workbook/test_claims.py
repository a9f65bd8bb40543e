"""What the notebooks say about heads, layers and positions holds on the published numbers and on ioi-mini."""

import re

import nbformat
import pytest
from jaxtyping import Float
from torch import Tensor
from transformer_lens import ActivationCache

from tests.conftest import REPOSITORY
from tests.notebooks import find_notebooks
from tests.test_02_residual_stream import BLOCK_COMPONENTS
from tests.test_04_attention_patterns import HEAD_COMPONENTS
from tests.workbook.claims import ATTENTION_CLAIMS, CLAIMS, STRONGEST_BY_VALUE, AttentionClaim, Claim
from utils import (
    load_ioi,
    load_model,
    logits_to_ave_logit_diff,
    published_patching,
    published_results,
    reference_sweep,
    topk_of_Nd_tensor,
)


@pytest.fixture(scope="module")
def published_maps() -> dict[str, Float[Tensor, "layer place"]]:
    return _maps(published_patching("block_every"), published_patching("head_all_pos_every"))


@pytest.fixture(scope="module")
def ioi_mini():
    model = load_model("ioi-mini", device="cpu")
    return model, load_ioi(model)


@pytest.fixture(scope="module")
def ioi_mini_maps(ioi_mini) -> dict[str, Float[Tensor, "layer place"]]:
    return _maps(
        reference_sweep("get_act_patch_block_every", *ioi_mini),
        reference_sweep("get_act_patch_attn_head_all_pos_every", *ioi_mini),
    )


def _maps(blocks: Float[Tensor, "3 layer pos"], heads: Float[Tensor, "5 layer head"]) -> dict[str, Tensor]:
    return dict(zip(BLOCK_COMPONENTS, blocks, strict=True)) | dict(zip(HEAD_COMPONENTS, heads, strict=True))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.tag)
def test_claim_holds_in_the_published_numbers(claim: Claim, published_maps: dict) -> None:
    _assert_holds(claim, published_maps)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.tag)
def test_claim_holds_on_ioi_mini(claim: Claim, ioi_mini_maps: dict) -> None:
    _assert_holds(claim, ioi_mini_maps)


def _assert_holds(claim: Claim, maps: dict[str, Tensor]) -> None:
    values = {place: maps[claim.map_name][place].item() for place in claim.places}
    assert {place: value for place, value in values.items() if not claim.low <= value <= claim.high} == {}


def test_strongest_heads_by_value(published_maps: dict, ioi_mini_maps: dict) -> None:
    for maps in (published_maps, ioi_mini_maps):
        assert set(topk_of_Nd_tensor(maps["v"], 4)) == STRONGEST_BY_VALUE


@pytest.fixture(scope="module")
def ioi_mini_caches(ioi_mini) -> dict[str, ActivationCache]:
    model, data = ioi_mini
    tokens = {"clean": data.tokens, "corrupted": data.corrupted_tokens}
    return {run: model.run_with_cache(prompts)[1] for run, prompts in tokens.items()}


@pytest.mark.parametrize("claim", ATTENTION_CLAIMS, ids=lambda claim: claim.tag)
def test_attention_claim_holds_on_ioi_mini(claim: AttentionClaim, ioi_mini, ioi_mini_caches) -> None:
    _, data = ioi_mini
    layer, head = claim.head
    pattern = ioi_mini_caches[claim.run]["pattern", layer][:, head]
    prompts = range(len(data.prompts))
    attention = pattern[prompts, data.positions[claim.looks_from], data.positions[claim.looks_at]]
    assert attention.mean() > 0.5


def test_every_head_named_in_the_notebooks_is_in_a_claim() -> None:
    """A sentence about a head that nothing tests fails here; the paper's classes stand in the published data."""
    tested = {place for claim in CLAIMS if claim.map_name in HEAD_COMPONENTS for place in claim.places}
    tested |= {claim.head for claim in ATTENTION_CLAIMS}
    tested |= {tuple(head) for heads in published_results()["circuit"].values() for head in heads}
    named = {}
    for notebook in find_notebooks(REPOSITORY / "solutions"):
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type == "markdown":
                text = re.sub(r"\[[^]]*\]\([^)]*\)", "", cell.source)  # links name papers by such numbers too
                found = re.findall(r"(?<![\d.])(1?\d)\.(1?\d)(?![\d.]*\d)", text)
                named |= {(int(layer), int(head)): f"{notebook.name}, {cell.id}" for layer, head in found}
    untested = {head: where for head, where in named.items() if head not in tested}
    # Values of the metric, such as 0.5, look like heads of layer 0.
    assert {head: where for head, where in untested.items() if head[0] > 0} == {}
    assert {(9, 9), (10, 7), (5, 5)} <= set(named)


def test_ioi_mini_prefers_the_right_name_on_every_prompt(ioi_mini) -> None:
    model, data = ioi_mini
    clean = logits_to_ave_logit_diff(model(data.tokens), data.answer_tokens, per_prompt=True)
    corrupted = logits_to_ave_logit_diff(model(data.corrupted_tokens), data.answer_tokens, per_prompt=True)
    assert (clean > 0).all()
    assert (corrupted < 0).all()
    assert model(data.tokens)[:, -1].argmax(-1).tolist() == data.answer_tokens[:, 0].tolist()
