"""The notebooks' claims about heads, layers and positions hold on the published numbers and on ioi-mini."""

import re

import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.utilities import get_act_name

from selftests.claims import (
    ALL_CLAIMS,
    ATTENTION_CLAIMS,
    BACKUP_HEADS,
    CLAIMS,
    DIRECT_CLAIMS,
    NEGATIVE_HEADS,
    OWN_CLAIMS,
    PAPER_CLAIMS,
    POSITION_CLAIMS,
    STRONGEST_BY_VALUE,
    AttentionClaim,
    Claim,
    DirectClaim,
    PaperClaim,
    PositionClaim,
)
from selftests.prose import Block, all_blocks, blocks
from training.published_maps import published_map_by_position
from utils import (
    load_ioi,
    load_model,
    logits_to_ave_logit_diff,
    make_ioi_metric,
    published_attribution,
    published_circuit,
    published_patching,
    reference_sweep,
    topk_of_Nd_tensor,
)
from utils.circuit import head_attribution
from utils.sweep_specs import BLOCK_COMPONENTS, HEAD_COMPONENTS


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
    tokens = {"clean": data.clean_tokens, "corrupted": data.corrupted_tokens}
    return {run: model.run_with_cache(prompts)[1] for run, prompts in tokens.items()}


@pytest.mark.parametrize("claim", ATTENTION_CLAIMS, ids=lambda claim: claim.tag)
def test_attention_claim_holds_on_ioi_mini(claim: AttentionClaim, ioi_mini, ioi_mini_caches) -> None:
    _, data = ioi_mini
    prompts = range(len(data.prompts))
    for run in claim.runs:
        for layer, head in claim.heads:
            pattern = ioi_mini_caches[run]["pattern", layer][:, head]
            attention = pattern[prompts, data.positions[claim.attends_from], data.positions[claim.attends_to]]
            assert attention.mean() > claim.least, f"{layer}.{head}, {run}"


@pytest.mark.parametrize("claim", POSITION_CLAIMS, ids=lambda claim: claim.tag)
def test_position_claim_holds_in_the_published_numbers(claim: PositionClaim, published_maps: dict) -> None:
    by_position = published_map_by_position("z")
    for head in claim.heads:
        layer, index = head
        assert by_position[layer, claim.position, index] >= claim.least * published_maps["z"][head], head


@pytest.mark.parametrize("claim", POSITION_CLAIMS, ids=lambda claim: claim.tag)
def test_position_claim_holds_on_ioi_mini(claim: PositionClaim, ioi_mini, ioi_mini_maps, ioi_mini_caches) -> None:
    model, data = ioi_mini
    clean_cache, ioi_metric = ioi_mini_caches["clean"], make_ioi_metric(model, data)
    for layer, head in claim.heads:

        def patch(z: Tensor, hook, head=head) -> Tensor:
            z[:, claim.position, head] = clean_cache[hook.name][:, claim.position, head]
            return z

        logits = model.run_with_hooks(data.corrupted_tokens, fwd_hooks=[(get_act_name("z", layer), patch)])
        assert ioi_metric(logits) >= claim.least * ioi_mini_maps["z"][layer, head], f"{layer}.{head}"


@pytest.mark.parametrize("claim", PAPER_CLAIMS, ids=lambda claim: claim.tag)
def test_the_paper_assigns_these_heads_to_this_class(claim: PaperClaim) -> None:
    assert set(claim.heads) <= set(published_circuit()[claim.class_name])


@pytest.mark.parametrize("claim", DIRECT_CLAIMS, ids=lambda claim: claim.tag)
def test_direct_claim_holds(claim: DirectClaim, ioi_mini, ioi_mini_caches) -> None:
    assert claim.low <= published_attribution()[claim.head] <= claim.high
    assert claim.low <= head_attribution(*ioi_mini, ioi_mini_caches["clean"])[claim.head] <= claim.high


def test_9_9_and_9_6_write_most_for_the_answer() -> None:
    assert topk_of_Nd_tensor(published_attribution(), 2) == [(9, 9), (9, 6)]


def test_others_make_up_for_9_9_on_ioi_mini(ioi_mini, ioi_mini_caches) -> None:
    """Without 9.9 backups write more, negative heads write less, and little of its contribution is lost."""
    model, data = ioi_mini

    def ablate(z: Tensor, hook) -> Tensor:
        z[:, :, 9] = z[:, :, 9].mean(0, keepdim=True)
        return z

    with model.hooks(fwd_hooks=[("blocks.9.attn.hook_z", ablate)]):
        logits, cache = model.run_with_cache(data.clean_tokens)
    before = head_attribution(model, data, ioi_mini_caches["clean"])
    change = head_attribution(model, data, cache) - before
    assert set(topk_of_Nd_tensor(change, 6)) == {*BACKUP_HEADS, *NEGATIVE_HEADS, (10, 0)}
    lost = logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens) - logits_to_ave_logit_diff(
        logits, data.answer_tokens
    )
    assert 0 < lost < before[9, 9] / 3


def test_by_the_last_block_the_answer_stands_at_END(ioi_mini) -> None:
    model, data = ioi_mini
    left = {}
    for name in ("S1", "S2", "END"):

        def zero(resid: Tensor, hook, pos=data.positions[name]) -> Tensor:
            resid[range(len(pos)), pos] = 0.0
            return resid

        logits = model.run_with_hooks(data.clean_tokens, fwd_hooks=[(get_act_name("resid_pre", 11), zero)])
        left[name] = logits_to_ave_logit_diff(logits, data.answer_tokens)
    whole = logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens)
    assert abs(left["END"]) < whole / 2
    assert min(left["S1"], left["S2"]) > whole * 3 / 4


@pytest.mark.parametrize("place", [(5, 5), (8, 6), (9, 9), (10, 7)], ids=lambda place: f"{place[0]}.{place[1]}")
def test_noising_is_one_minus_denoising(place: tuple[int, int], ioi_mini, ioi_mini_maps, ioi_mini_caches) -> None:
    """It follows from the data set: corrupted prompt 0 is clean prompt 1, and the other way round."""
    model, data = ioi_mini
    layer, head = place

    def patch(z: Tensor, hook) -> Tensor:
        z[:, :, head] = ioi_mini_caches["corrupted"][hook.name][:, :, head]
        return z

    noised = model.run_with_hooks(data.clean_tokens, fwd_hooks=[(get_act_name("z", layer), patch)])
    torch.testing.assert_close(make_ioi_metric(model, data)(noised), 1 - ioi_mini_maps["z"][place], atol=1e-4, rtol=0)


def test_averaging_mlp_0_hurts_prediction_most(ioi_mini) -> None:
    """For every next token, not only for names. No losses were published, so this is tested on ioi-mini only."""
    model, data = ioi_mini

    def loss(logits: Tensor) -> float:
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), data.clean_tokens[:, 1:].flatten()
        ).item()

    def average_out(mlp_out: Tensor, hook) -> Tensor:
        return mlp_out.mean(dim=(0, 1), keepdim=True).expand_as(mlp_out)

    hooks = [(get_act_name("mlp_out", layer), average_out) for layer in range(12)]
    losses = [loss(model.run_with_hooks(data.clean_tokens, fwd_hooks=[hook])) for hook in hooks]
    assert losses[0] > max(losses[1:]) > loss(model(data.clean_tokens))
    assert losses[0] > loss(model(data.clean_tokens)) + 1


def test_pattern_and_query_panels_are_alike(published_maps: dict, ioi_mini_maps: dict) -> None:
    for maps in (published_maps, ioi_mini_maps):
        assert (maps["q"] - maps["pattern"]).abs().max() < 0.1
        assert maps["k"].abs().max() < 0.2 < maps["q"].abs().max()


def test_about_a_dozen_heads_matter(published_maps: dict, ioi_mini_maps: dict) -> None:
    for maps in (published_maps, ioi_mini_maps):
        assert 10 <= (maps["z"].abs() > 0.05).sum() <= 20


def test_strongest_heads_in_words(published_maps: dict, ioi_mini_maps: dict) -> None:
    """The strongest four, then the next four, and the two most negative."""
    for maps in (published_maps, ioi_mini_maps):
        strongest = topk_of_Nd_tensor(maps["z"], 8)
        assert set(strongest[:4]) == {(5, 5), (8, 6), (8, 10), (9, 9)}
        assert set(strongest[4:]) == {(3, 0), (6, 9), (7, 3), (7, 9)}
        assert topk_of_Nd_tensor(-maps["z"], 2) == [(10, 7), (11, 10)]


def test_tags_are_unique() -> None:
    tags = [claim.tag for claim in ALL_CLAIMS]
    assert sorted(set(tags)) == sorted(tags)


def test_every_own_claim_has_its_test() -> None:
    assert [claim.tag for claim in OWN_CLAIMS if claim.test not in globals()] == []


def test_tags_in_the_notebooks_are_exactly_those_of_the_claims() -> None:
    made = {tag for block in all_blocks() for tag in block.tags}
    assert made == {claim.tag for claim in ALL_CLAIMS}


def test_every_head_and_layer_named_in_the_notebooks_has_a_tagged_claim() -> None:
    assert [complaint for block in all_blocks() for complaint in untagged(block)] == []


def untagged(block: Block) -> list[str]:
    """The heads and layers that a block names and that are in none of its tagged claims."""
    claims = [claim for claim in ALL_CLAIMS if claim.tag in block.tags]
    heads = block.heads - {head for claim in claims for head in claim.heads}
    layers = block.layers - {layer for claim in claims for layer in claim.layers}
    named = [f"{layer}.{head}" for layer, head in sorted(heads)] + [f"layer {layer}" for layer in sorted(layers)]
    return [f"{block.where}: no claim about {name} is tagged in {block.text[:60]!r}" for name in named]


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("Head 9.9 writes.", ["9.9"]),
        ("Head 9.9 writes. <!-- claim: 9.9-writes-most -->", []),
        ("Head 9.9 writes, **8.6** moves. <!-- claim: 9.9-writes-most -->", ["8.6"]),
        ("- 9.9 <!-- claim: 9.9-writes-most -->\n- 10.7", ["10.7"]),
        ("| a | b |\n| --- | --- |\n| 9.9 | x <!-- claim: 9.9-writes-most --> |\n| 10.7 | y |", ["10.7"]),
        ("One.\n\nLayers 7 and 8 move it.\n", ["layer 7", "layer 8"]),
        ("At layer 10's end. <!-- claim: 9.9-writes-most -->", ["layer 10"]),
        (
            "MLP 0 matters; a score of 0.5 and [arXiv 2211.00593](https://arxiv.org/abs/2211.00593) are no heads.",
            ["layer 0"],
        ),
        ("Notebook 3 has 12 heads; `5.5` and\n```python\n9.9\n```\nare code.", []),
    ],
)
def test_names_without_a_claim_are_found(source: str, missing: list[str]) -> None:
    found = [complaint for block in blocks("here", source) for complaint in untagged(block)]
    assert [re.search("about (.*) is tagged", complaint)[1] for complaint in found] == missing


def test_ioi_mini_prefers_the_right_name_on_every_prompt(ioi_mini) -> None:
    model, data = ioi_mini
    clean = logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens, per_prompt=True)
    corrupted = logits_to_ave_logit_diff(model(data.corrupted_tokens), data.answer_tokens, per_prompt=True)
    assert (clean > 0).all()
    assert (corrupted < 0).all()
    assert model(data.clean_tokens)[:, -1].argmax(-1).tolist() == data.answer_tokens[:, 0].tolist()
