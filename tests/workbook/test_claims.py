"""What the notebooks say about heads, layers and positions holds on the published numbers and on ioi-mini."""

import pytest
from jaxtyping import Float
from torch import Tensor

from tests.test_02_residual_stream import BLOCK_COMPONENTS
from tests.test_04_attention_patterns import HEAD_COMPONENTS
from tests.workbook.claims import CLAIMS, STRONGEST_BY_VALUE, Claim
from utils import load_ioi, load_model, logits_to_ave_logit_diff, published_patching, reference_sweep, topk_of_Nd_tensor


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


def test_attention_of_the_named_heads_on_ioi_mini(ioi_mini) -> None:
    """3.0 looks from S2 at S1; the middle heads from END at S2, in both runs; 9.9 from END at each run's right name."""
    model, data = ioi_mini
    _, clean_cache = model.run_with_cache(data.tokens)
    _, corrupted_cache = model.run_with_cache(data.corrupted_tokens)

    def attention(cache, layer: int, head: int, looks_from: str, looks_at: str) -> float:
        prompts = range(len(data.prompts))
        pattern = cache["pattern", layer][:, head]
        return pattern[prompts, data.positions[looks_from], data.positions[looks_at]].mean().item()

    assert attention(clean_cache, 3, 0, "S2", "S1") > 0.5
    assert attention(clean_cache, 9, 9, "END", "IO") > 0.5
    # The corrupted prompt repeats the other name, so that its right answer stands at the clean prompt's S1.
    assert attention(corrupted_cache, 9, 9, "END", "S1") > 0.5
    for layer, head in STRONGEST_BY_VALUE:
        assert attention(clean_cache, layer, head, "END", "S2") > 0.5
        assert attention(corrupted_cache, layer, head, "END", "S2") > 0.5


def test_ioi_mini_prefers_the_right_name_on_every_prompt(ioi_mini) -> None:
    model, data = ioi_mini
    clean = logits_to_ave_logit_diff(model(data.tokens), data.answer_tokens, per_prompt=True)
    corrupted = logits_to_ave_logit_diff(model(data.corrupted_tokens), data.answer_tokens, per_prompt=True)
    assert (clean > 0).all()
    assert (corrupted < 0).all()
    assert model(data.tokens)[:, -1].argmax(-1).tolist() == data.answer_tokens[:, 0].tolist()
