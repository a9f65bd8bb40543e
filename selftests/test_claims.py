"""The notebooks' claims about heads, layers and positions hold on the published numbers and on ioi-mini."""

import inspect
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from selftests.claim_maps import BY_POSITION, gpt2_small_map, ioi_mini, ioi_mini_map
from selftests.claims import (
    ALL_CLAIMS,
    ATTENTION_CLAIMS,
    BACKUP_HEADS,
    EARLY_HEADS,
    EFFECTS,
    END,
    LATE_HEADS,
    MIDDLE_HEADS,
    NEGATIVE_HEADS,
    NO_EFFECTS,
    OWN_CLAIMS,
    PAPER_CLAIMS,
    POSITION_CLAIMS,
    RUNS,
    S2,
    TOLERANCE,
    AttentionClaim,
    Effect,
    NoEffect,
    OwnClaim,
    PaperClaim,
    Place,
    PositionClaim,
)
from selftests.notebook_cells import CellRun, run_to
from selftests.prose import Block, all_blocks, blocks, notebooks
from tests.test_07_testing_the_evidence import find_counterexamples
from utils import (
    IOIData,
    logits_to_ave_logit_diff,
    make_ioi_metric,
    mean_ablate,
    published_circuit,
    published_results,
    sweeps,
    topk_of_Nd_tensor,
)
from utils.circuit import HEAD_CLASSES, mean_attention
from utils.lab_widgets import cells
from utils.lab_widgets.maps import Choice, run_pairs
from utils.lab_widgets.prompts import first_fields, read_pairs
from utils.models import IOI_MINI_FOLDER
from utils.sweep_specs import HEAD_COMPONENTS

Map = Callable[[str], Tensor]
BOTH = pytest.mark.parametrize("maps", [gpt2_small_map, ioi_mini_map], ids=["gpt2-small", "ioi-mini"])
BY_TAG = {claim.tag: claim for claim in ALL_CLAIMS}


def entries(claim: Effect | NoEffect, maps: Map) -> dict[Place, float]:
    """The entries of the claim's map that the claim speaks of."""
    values = maps(claim.map_name)
    places = claim.places
    if isinstance(claim, NoEffect) and claim.everywhere_but:
        places = set(itertools.product(*map(range, values.shape))) - set(claim.places)
    return {place: values[place].item() for place in places}


@BOTH
@pytest.mark.parametrize("claim", EFFECTS, ids=lambda claim: claim.tag)
def test_effect_is_there(claim: Effect, maps: Map) -> None:
    assert no_such_effects(claim, maps) == {}


def no_such_effects(claim: Effect, maps: Map) -> dict[Place, float]:
    """The entries of another sign or size than the claim says."""
    return {
        place: value
        for place, value in entries(claim, maps).items()
        if value / claim.least < 1 or (claim.most is not None and value / claim.most > 1)
    }


@pytest.mark.parametrize("claim", EFFECTS, ids=lambda claim: claim.tag)
def test_ioi_mini_is_near_the_published_number_of_the_same_place(claim: Effect) -> None:
    published, measured = entries(claim, gpt2_small_map), entries(claim, ioi_mini_map)
    assert {p: v for p, v in measured.items() if abs(v - published[p]) > TOLERANCE * abs(published[p])} == {}


@BOTH
@pytest.mark.parametrize("claim", NO_EFFECTS, ids=lambda claim: claim.tag)
def test_effect_is_absent(claim: NoEffect, maps: Map) -> None:
    assert too_large(claim, maps) == {}


def too_large(claim: NoEffect, maps: Map) -> dict[Place, float]:
    """The entries that are not small beside the effects with which the claim compares them."""
    smallest = min(map(abs, entries(BY_TAG[claim.beside], maps).values()))
    return {place: value for place, value in entries(claim, maps).items() if abs(value) > claim.most * smallest}


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        (replace(BY_TAG["other-mlps-hardly-matter"], places=((0, 10),)), {(5, 10)}),
        (replace(BY_TAG["attention-nowhere-else"], places=BY_TAG["attention-nowhere-else"].places[1:]), {(3, 10)}),
        (replace(BY_TAG["keys-but-two"], places=((10, 7), (5, 9))), {(11, 10)}),
        (NoEffect("9.6-hardly", "z", ((9, 6),), beside="early-heads"), {(9, 6)}),
        (NoEffect("one-place", "v by position", ((7, 3, 11),), beside="middle-heads-value"), {(7, 3, 11)}),
    ],
    ids=lambda value: getattr(value, "tag", ""),
)
@BOTH
def test_an_effect_that_is_called_none_is_found(claim: NoEffect, found: set[Place], maps: Map) -> None:
    assert set(too_large(claim, maps)) == found


# Tolerances


@pytest.mark.parametrize("claim", [*EFFECTS, *NO_EFFECTS, *POSITION_CLAIMS, *ATTENTION_CLAIMS], ids=lambda c: c.tag)
def test_no_tolerance_is_wider_than_a_third_of_the_effect(claim) -> None:
    assert tolerance(claim) <= TOLERANCE


def tolerance(claim: Effect | NoEffect | PositionClaim | AttentionClaim) -> float:
    """How far a claim's numbers are from what they judge, as a share of it."""
    if isinstance(claim, NoEffect):
        return claim.most
    if isinstance(claim, PositionClaim):
        return 1 - claim.least
    if isinstance(claim, AttentionClaim):
        return 1 - claim.least / min(attention(claim).values())
    sizes = [abs(value) for value in entries(claim, gpt2_small_map).values()]
    return max(1 - abs(claim.least) / min(sizes), abs(claim.most or 0) / max(sizes) - 1)


@pytest.mark.parametrize(
    "claim",
    [
        NoEffect("0.15-where-0.12-is-an-effect", "mlp_out", ((0, 10),), "attention-at-S2-early", True, most=1.25),
        NoEffect("0.1-where-0.12-is-an-effect", "attn_out", ((3, 10),), "attention-at-S2-early", True, most=0.8),
        NoEffect("0.05-where-0.12-is-an-effect", "k", MIDDLE_HEADS, "middle-heads-value", most=0.4),
        Effect("a-floor-far-below", "q", ((9, 9), (10, 0)), least=0.05),
        Effect("a-ceiling-far-above", "direct", ((9, 6),), least=1.0, most=2.0),
        Effect("a-negative-floor", "attn_out", ((10, 14), (11, 14)), least=-0.1, most=-0.6),
        PositionClaim("half-of-it", ((5, 5),), 10, least=0.5),
        AttentionClaim("half-of-its-attention", ((5, 5),), "S2", "S1+1", least=0.5),
    ],
    ids=lambda claim: claim.tag,
)
def test_a_wide_tolerance_is_found(claim) -> None:
    assert tolerance(claim) > TOLERANCE


# Attention, positions, and the paper


@pytest.mark.parametrize("claim", ATTENTION_CLAIMS, ids=lambda claim: claim.tag)
def test_attention_claim_holds_on_ioi_mini(claim: AttentionClaim) -> None:
    assert {place: share for place, share in attention(claim).items() if share <= claim.least} == {}


def attention(claim: AttentionClaim) -> dict[tuple[str, int, int], float]:
    """The attention that the claim speaks of, by run and head."""
    variables = run_to(*RUNS).variables
    found = {}
    for run in claim.runs:
        positions = variables["data"].positions
        start, end = positions[claim.attends_from], positions[claim.attends_to]
        mean = mean_attention(variables[f"{run}_cache"], variables["model"].cfg.n_layers, start, end)
        found |= {(run, *head): mean[head].item() for head in claim.heads}
    return found


@BOTH
@pytest.mark.parametrize("claim", POSITION_CLAIMS, ids=lambda claim: claim.tag)
def test_position_claim_holds(claim: PositionClaim, maps: Map) -> None:
    by_position, whole = maps(f"z{BY_POSITION}"), maps("z")
    for head in claim.heads:
        there, elsewhere = by_position[head][claim.position], by_position[head].clone()
        elsewhere[claim.position] = 0
        assert there / whole[head] >= claim.least, head
        assert elsewhere.abs().max() <= (1 - claim.least) * whole[head].abs(), head


@pytest.mark.parametrize("claim", PAPER_CLAIMS, ids=lambda claim: claim.tag)
def test_the_paper_assigns_these_heads_to_this_class(claim: PaperClaim) -> None:
    assert set(claim.heads) <= set(published_circuit()[claim.class_name])


# Claims of other forms; where a cell shows it, the cell is run.


def cell_of(tag: str) -> CellRun:
    return run_to(*BY_TAG[tag].cell)


def test_strongest_heads_by_value() -> None:
    assert set(topk_of_Nd_tensor(gpt2_small_map("v"), 4)) == set(MIDDLE_HEADS)
    assert set(cell_of("strongest-by-value").variables["value_heads"]) == set(MIDDLE_HEADS)


@BOTH
def test_9_9_and_9_6_write_most_for_the_answer(maps: Map) -> None:
    assert topk_of_Nd_tensor(maps("direct"), 2) == [(9, 9), (9, 6)]


@BOTH
def test_5_5_has_three_times_the_effect_of_3_0(maps: Map) -> None:
    assert 2.5 < maps("z")[5, 5] / maps("z")[3, 0] < 3.5


def test_others_make_up_for_9_9_on_ioi_mini() -> None:
    """Without 9.9 backups write more, negative heads write less, and little of its contribution is lost."""
    cell = cell_of("others-make-up-for-9.9")
    listed = re.findall(r"^(\d+)\.(\d+) .* before, .* after$", cell.printed, re.MULTILINE)
    assert {(int(layer), int(head)) for layer, head in listed} == {*BACKUP_HEADS, *NEGATIVE_HEADS, (10, 0)}
    had, lost = map(
        float, re.search(r"9\.9 adds (\S+) .*, by (\S+)\.$", cell.printed, re.DOTALL | re.MULTILINE).groups()
    )
    assert 0 < lost < had / 3


def test_a_prompt_can_differ_from_its_corrupted_version_and_a_pair_cannot() -> None:
    clean, corrupted = cell_of("one-prompt-differs-from-its-corrupted-version").variables["per_prompt"]
    published = torch.tensor(published_results()["per_prompt_logit_diff"])
    published_corrupted = -published.view(4, 2).flip(1).flatten()
    for run, other in ((clean.cpu(), corrupted.cpu()), (published, published_corrupted)):
        torch.testing.assert_close(run.view(4, 2).mean(1), -other.view(4, 2).mean(1), atol=1e-4, rtol=0)
        assert (run + other).abs().max() > 0.25
    assert f"{published[4]:.2f} {published_corrupted[4]:.2f}" == "1.72 -5.28"


def published_attribution_by_label(name: str) -> dict[str, float]:
    entries = published_results()["attribution"][name]
    return dict(zip(entries["labels"], entries["values"], strict=True))


def test_the_logit_lens_before_layer_9_is_near_zero() -> None:
    measured = cell_of("answer-not-written-before-layer-9").variables["logit_lens"]
    published = list(published_attribution_by_label("logit_lens").values())
    for lens in (measured, published):
        before_9, after_attention_9, end = lens[18], lens[19], lens[24]
        assert max(map(abs, lens[:18])) <= before_9 * 1.01
        assert before_9 < end / 5
        assert after_attention_9 > end


def test_the_logit_difference_cancels_what_raises_both_names() -> None:
    variables = cell_of("difference-cancels-what-raises-both").variables
    data, cache, logits = variables["data"], variables["clean_cache"], variables["clean_logits"]
    raised = logits.clone()
    raised[:, -1].scatter_add_(1, data.answer_tokens, torch.full((8, 2), 5.0))
    after = logits_to_ave_logit_diff(raised, data.answer_tokens, per_prompt=True)
    torch.testing.assert_close(after, variables["my_logit_diff"], atol=1e-4, rtol=0)
    written = cache["mlp_out", 8][:, -1] / cache["ln_final.hook_scale"][:, -1]
    names = variables["model"].W_U.T[data.answer_tokens]  # [batch 2 d_model]
    correct, incorrect = torch.einsum("bm,bnm->bn", written, names).mean(0).tolist()
    assert f"{(correct + incorrect) / 2:.0f} {correct - incorrect:.1f}" == "5 0.6"


def test_what_is_written_adds_up_and_effects_need_not() -> None:
    """The early heads together have an effect that is larger than the sum by more than a fifth of it."""
    assert_direct_contributions_add_up()
    in_sum = sum(ioi_mini_map("z")[head].item() for head in EARLY_HEADS)
    assert together(cell_of("effects-need-not-add-up"), EARLY_HEADS) > 1.2 * in_sum


def assert_direct_contributions_add_up() -> None:
    """They do so only where the final LayerNorm's weights are folded into `W_U`; the embedding's part is near 0."""
    variables = cell_of("answer-not-written-before-layer-9").variables
    whole = logits_to_ave_logit_diff(variables["clean_logits"], variables["data"].answer_tokens).item()
    assert variables["logit_lens"][-1] == pytest.approx(whole, abs=1e-3)
    assert sum(map(sum, variables["by_layer"])) == pytest.approx(whole, abs=0.05)


def test_position_restores_more_than_token_on_ioi_mini() -> None:
    restored = cell_of("position-more-than-token").variables["restored"]
    assert [f"{restored[signal]:.2f}" for signal in ("both", "position", "token")] == ["0.91", "0.76", "0.11"]
    assert restored["position"] + restored["token"] < restored["both"]


def test_exchanging_all_names_flips_the_token_and_keeps_the_position() -> None:
    variables = cell_of("position-more-than-token").variables
    data, sources = variables["data"], variables["sources"]
    clean, corrupted, by_position, by_token = (
        [repeated_name(prompt) for prompt in tokens.tolist()]
        for tokens in (data.clean_tokens, data.corrupted_tokens, sources["position"], sources["token"])
    )
    assert by_position == [(clean[i][0], corrupted[i][1]) for i in range(8)]
    assert by_token == [(corrupted[i][0], clean[i][1]) for i in range(8)]


def repeated_name(prompt: list[int]) -> tuple[int, int]:
    """The first position of the token at S2, and that token."""
    return prompt.index(prompt[S2]), prompt[S2]


def test_ioi_minis_embeddings_are_not_tied() -> None:
    model, _ = ioi_mini()
    assert (model.W_U.T - model.W_E).abs().max() > 1


def test_the_published_logit_lens() -> None:
    lens = published_attribution_by_label("logit_lens")
    assert [round(lens[point], 2) for point in ("9_pre", "9_mid", "final_post")] == [0.46, 5.03, 3.55]


def test_layers_7_and_8_write_little_on_gpt2_small() -> None:
    direct, patched = published_attribution_by_label("layer_attribution"), gpt2_small_map("attn_out")[:, END]
    assert [round(direct[f"{layer}_attn_out"], 2) for layer in (7, 8)] == [0.28, 0.20]
    assert [round(patched[layer].item(), 2) for layer in (7, 8)] == [0.30, 0.57]


@BOTH
def test_attention_11_lowers_by_more_than_9_raises(maps: Map) -> None:
    nine, eleven = maps("attn_out")[9, END].item(), maps("attn_out")[11, END].item()
    assert -eleven > 1.2 * nine > 0
    if maps is gpt2_small_map:
        assert f"{eleven:.2f} {nine:.2f}" == "-0.41 0.27"


@BOTH
def test_mlp_0_at_S2_is_above_every_head(maps: Map) -> None:
    assert maps("mlp_out")[0, S2] > 2 * maps("z").max()
    assert f"{maps('mlp_out')[0, S2]:.2f}" == "0.85"


def test_effects_of_heads_together_on_ioi_mini() -> None:
    cell = cell_of("effects-of-heads-together")
    totals = printed_numbers(cell, r"(sum of these|all together)")
    assert totals == pytest.approx({"sum of these": 0.90, "all together": 0.91}, abs=0.006)
    for heads, all_together, total in ((EARLY_HEADS, "0.72", "0.59"), (LATE_HEADS, "0.39", "0.37")):
        alone = sum(ioi_mini_map("z")[head].item() for head in heads)
        assert (f"{together(cell, heads):.2f}", f"{alone:.2f}") == (all_together, total)
    assert set(cell.variables["my_heads"]) == set(MIDDLE_HEADS)


def together(cell: CellRun, heads: tuple[tuple[int, int], ...]) -> float:
    """The metric of a run in which the learner's hook patches all of these heads."""
    variables = cell.variables
    hooks = [
        (
            get_act_name("z", layer),
            partial(variables["patch_head_vector"], head_index=head, clean_cache=variables["clean_cache"]),
        )
        for layer, head in heads
    ]
    logits = variables["model"].run_with_hooks(variables["corrupted_tokens"], fwd_hooks=hooks)
    return variables["ioi_metric"](logits).item()


def test_a_clean_key_draws_attention_to_S2_on_ioi_mini() -> None:
    variables = run_to(*RUNS).variables
    model, clean_cache = variables["model"], variables["clean_cache"]
    for layer, head in NEGATIVE_HEADS:

        def patch_key(key: Tensor, hook, head=head) -> Tensor:
            key[:, :, head] = clean_cache[hook.name][:, :, head]
            return key

        with model.hooks(fwd_hooks=[(get_act_name("k", layer), patch_key)]):
            _, patched_cache = model.run_with_cache(variables["corrupted_tokens"])
        corrupted, patched = (
            cache["pattern", layer][:, head, END, S2].mean().item()
            for cache in (variables["corrupted_cache"], patched_cache)
        )
        assert corrupted < 0.05
        assert 0.2 < patched < 0.3


def test_7_3_attends_to_the_position_after_S2_too() -> None:
    variables = run_to(*RUNS).variables
    for run in ("clean", "corrupted"):
        attended = variables[f"{run}_cache"]["pattern", 7][:, 3, END].mean(0)
        assert attended.topk(2).indices.tolist() == [S2, S2 + 1]
        assert attended[S2 + 1] > 0.2


def test_8_6_is_no_name_mover() -> None:
    row = re.search(r"8\.6 +END > IO (\S+) .* (\S+)$", cell_of("8.6-is-no-name-mover").printed, re.MULTILINE)
    assert all(abs(float(number)) < 0.05 for number in row.groups())


def test_freezing_the_negative_heads_on_ioi_mini() -> None:
    effects = cell_of("freezing-the-negative-heads").variables["frozen_effects"]
    of_9_6, of_9_9 = zip(*effects.values(), strict=True)
    assert of_9_6 == pytest.approx([-0.05, 0.25, 0.43], abs=0.006)
    assert of_9_9 == pytest.approx([0.27, 0.74, 1.04], abs=0.006)


def test_by_the_last_block_the_answer_stands_at_END() -> None:
    cell = cell_of("zeroing-END-before-the-last-block")
    left = printed_numbers(cell, r"zero at (\S+)")
    whole = logits_to_ave_logit_diff(cell.variables["clean_logits"], cell.variables["data"].answer_tokens).item()
    assert left["END"] == pytest.approx(0.57, abs=0.006)
    assert min(left["S1"], left["S2"]) > whole * 3 / 4


def test_each_prompt_has_its_own_position_zeroed() -> None:
    cell = cell_of("zeroing-END-before-the-last-block")
    model, data = ioi_mini()

    def zero(resid: Float[Tensor, "batch pos d_model"], hook, pos: Tensor) -> Tensor:
        resid[range(len(pos)), pos] = 0.0
        return resid

    for name, printed in printed_numbers(cell, r"zero at (S1|S2|END)").items():
        hook = partial(zero, pos=data.positions[name])
        logits = model.run_with_hooks(data.clean_tokens, fwd_hooks=[(get_act_name("resid_pre", 11), hook)])
        assert logits_to_ave_logit_diff(logits, data.answer_tokens).item() == pytest.approx(printed, abs=5e-4), name


def printed_numbers(cell: CellRun, label: str) -> dict[str, float]:
    """The last number of each line that a cell printed with that label."""
    return {name: float(number) for name, number in re.findall(label + r".*?(-?\d+\.\d+)$", cell.printed, re.MULTILINE)}


def test_noising_is_one_minus_denoising() -> None:
    """It follows from the data set: corrupted prompt 0 is clean prompt 1, and the other way round."""
    cell = cell_of("noising-mirrors-denoising")
    rows = re.findall(r"^(\d+)\.(\d+) +(-?\d\.\d+) +(-?\d\.\d+)$", cell.printed, re.MULTILINE)
    last = cell.variables
    torch.testing.assert_close(last["noised"], 1 - last["denoised"], atol=1e-4, rtol=0)
    shown = {(int(layer), int(head)): (float(denoised), float(noised)) for layer, head, denoised, noised in rows}
    assert shown.keys() >= {(9, 9), (10, 7)}
    for place, (denoised, noised) in shown.items():
        assert denoised + noised == pytest.approx(1, abs=1.5e-3)
        assert denoised == pytest.approx(ioi_mini_map("z")[place].item(), abs=1e-3)


def test_some_metrics_hide_10_7_on_ioi_mini() -> None:
    variables = cell_of("10.7-by-metric").variables
    maps, logits = variables["metric_maps"], variables["corrupted_logits"]
    shown = {name: f"{maps[name][10, 7]:.2f}" for name in maps if name not in ("correct logit", "top-1 accuracy")}
    assert list(shown.values()) == ["-0.46", "-0.04", "-0.69", "-0.78"]
    assert maps["correct logit"][10, 7] < -0.9
    assert f"{variables['metrics']['probability'](logits):.3f}" == "0.005"
    assert maps["top-1 accuracy"].abs().max() == 0
    assert f"{maps['correct logit'][9, 6]:.2f} {maps['logit difference'][9, 6]:.2f}" == "-0.17 -0.05"
    patched = patched_logits(variables, variables["corrupted_tokens"], {(9, 6): variables["clean_cache"]})
    lowered = (patched - logits)[:, -1].gather(1, variables["answer_tokens"]).mean(0)
    assert (lowered < -0.2).all()


def test_a_surer_prediction_than_the_clean_runs_counts_as_harm_by_kl() -> None:
    variables = cell_of("10.7-by-metric").variables
    surer = patched_logits(variables, variables["clean_tokens"], {(10, 7): variables["corrupted_cache"]})
    assert variables["metrics"]["probability"](surer) > variables["metrics"]["probability"](variables["clean_logits"])
    assert variables["kl_to_clean"](surer, variables["clean_logits"]) > 0.1


def patched_logits(variables: dict, tokens: Tensor, outputs: dict) -> Float[Tensor, "batch pos d_vocab"]:
    """The logits of a run in which the outputs of heads are those of caches."""
    hooks = [
        (get_act_name("z", layer), partial(variables["set_head"], head_index=head, cache=cache))
        for (layer, head), cache in outputs.items()
    ]
    return variables["model"].run_with_hooks(tokens, fwd_hooks=hooks)


def test_two_of_six_claims_hold_under_all_corruptions_on_ioi_mini() -> None:
    maps = cell_of("claims-under-corruptions").variables["corruption_maps"]
    failing = {
        letter: [text.removeprefix("under ").split(",")[0] for text in found]
        for letter, found in find_counterexamples(maps).items()
    }
    assert failing == {
        "A": [],
        "B": ["all names swapped"],
        "C": ["all names swapped"],
        "D": ["other names"],
        "E": ["all names swapped", "other names", "noise at S2", "mean ablation"],
        "F": [],
    }


def test_backups_matter_once_the_name_movers_are_ablated_on_ioi_mini() -> None:
    cell = cell_of("backups-once-name-movers-are-ablated")
    assert set(cell.variables["backups"]) == set(BACKUP_HEADS)
    assert set(cell.variables["name_movers"]) == {(9, 9), (9, 6), (10, 0)}
    assert f"{cell.variables['lost']:.2f} {cell.variables['added']:.2f}" == "0.08 0.53"


def test_noising_10_7_moves_the_probability_and_denoising_it_does_not() -> None:
    variables = cell_of("10.7-and-the-probability").variables
    assert variables["negative"] == (10, 7)
    assert 0 > variables["after"] - variables["before"] > -0.01
    before = variables["metrics"]["probability"](variables["clean_logits"])
    after = before + variables["change"]
    assert f"{before:.2f} {after:.2f}" == "0.11 0.27"
    assert before < after / 2


def test_4_11_acts_through_the_induction_heads_on_ioi_mini() -> None:
    variables = cell_of("4.11-through-induction-heads").variables
    assert {heads: f"{effect:.2f}" for heads, effect in variables["frozen_effects"].items()} == {
        "none": "0.35",
        "5.5, 6.9": "0.03",
    }
    assert topk_of_Nd_tensor(variables["swapped_map"], 1) == [(4, 11)]


def test_with_4_11_patched_the_induction_heads_attend_to_the_position_after_IO() -> None:
    variables = cell_of("4.11-through-induction-heads").variables
    model, data, tokens = variables["model"], variables["data"], variables["swapped_tokens"]
    patch = partial(variables["set_head"], head_index=11, cache=variables["clean_cache"])
    _, unpatched = model.run_with_cache(tokens)
    with model.hooks(fwd_hooks=[(get_act_name("z", 4), patch)]):
        _, patched = model.run_with_cache(tokens)
    for layer, head in ((5, 5), (6, 9)):
        before, after = (
            cache["pattern", layer][range(8), head, S2, data.positions["IO"] + 1].mean()
            for cache in (unpatched, patched)
        )
        print(layer, head, before, after)
        assert before < 0.1
        assert after > 3 * before


def test_averaging_mlp_0_hurts_prediction_most() -> None:
    """For every next token, not only for names. No losses were published, so this is tested on ioi-mini only."""
    cell = cell_of("averaging-mlp-0-hurts-most")
    losses = printed_numbers(cell, r"MLP (\d+)")
    as_it_is = printed_numbers(cell, r"(as it is)")["as it is"]
    assert losses.keys() == {str(layer) for layer in range(12)}
    assert f"{as_it_is:.2f} {losses['0']:.2f}" == "2.30 3.39"
    mlp_0 = losses.pop("0") - as_it_is
    assert mlp_0 > 1
    assert 0 < max(losses.values()) - as_it_is < mlp_0


def test_position_0_is_left_out_of_the_average_of_an_mlp() -> None:
    average_out = cell_of("averaging-mlp-0-hurts-most").variables["average_out"]
    averaged = average_out(torch.tensor([[1000.0, 1.0, 2.0], [1000.0, 3.0, 6.0]])[:, :, None], hook=None)
    assert averaged[:, :, 0].tolist() == [[1000.0, 3.0, 3.0]] * 2


def test_paths_on_ioi_mini() -> None:
    cell = cell_of("paths-on-ioi-mini")
    into_9_9, into_s_inhibition = cell.variables["paths"]
    classes = cell.variables["classes"]
    from_s_inhibition = into_9_9[classes.index("s-inhibition")]
    assert [f"{value:z.2f}" for value in from_s_inhibition.tolist()] == ["0.27", "0.00", "0.00"]
    assert from_s_inhibition[0].item() == pytest.approx(ioi_mini_map("q")[9, 9].item(), abs=1e-3)
    assert into_9_9[[name != "s-inhibition" for name in classes]].abs().max() < 0.005
    values = {name: f"{row[2]:.2f}" for name, row in zip(classes, into_s_inhibition, strict=True)}
    assert (values.pop("induction"), values.pop("duplicate token")) == ("0.49", "0.11")
    assert {value.removeprefix("-") for value in values.values()} == {"0.00"}
    assert into_s_inhibition[:, :2].abs().max() < 0.01


def test_the_published_circuit_has_26_heads() -> None:
    assert sum(map(len, published_circuit().values())) == 26


def test_faithfulness_on_ioi_mini() -> None:
    cell = cell_of("faithfulness-on-ioi-mini")
    variables = cell.variables
    left_out = dict(zip(variables["names"], variables["left_out"], strict=True))
    names = ("negative name mover", "previous token", "name mover")
    assert f"{variables['added'][-1]:.2f}" == "0.91"
    assert [f"{left_out[name]:.2f}" for name in names] == ["1.60", "0.28", "0.78"]
    for head in ((2, 2), (4, 11)):  # before S2 both runs are the same
        clean, corrupted = (cache["z", head[0]][:, :S2, head[1]] for cache in caches(*ioi_mini()))
        torch.testing.assert_close(clean, corrupted)
    model, data = ioi_mini()
    without = mean_ablate(model, data.clean_tokens, variables["means"], published_circuit()["name mover"])
    lost = 1 - logits_to_ave_logit_diff(without, data.answer_tokens) / variables["clean_logit_diff"]
    assert f"{lost:.0%}" == "13%"


def caches(model: TransformerBridge, data: IOIData) -> tuple[ActivationCache, ActivationCache]:
    """The caches of the clean and the corrupted run."""
    return model.run_with_cache(data.clean_tokens)[1], model.run_with_cache(data.corrupted_tokens)[1]


def test_a_smaller_circuit_on_ioi_mini() -> None:
    cell = cell_of("smaller-circuit-on-ioi-mini")
    variables = cell.variables
    assert len(variables["smaller"]) == 19
    heads = sorted({head for heads in published_circuit().values() for head in heads}, reverse=True)
    other = set(heads)
    for head in heads:
        if abs(variables["faithfulness"](other - {head}) - variables["added"][-1]) < 0.03:
            other.remove(head)
    assert other == variables["smaller"]


def test_signals_of_each_head_on_ioi_mini() -> None:
    cell = cell_of("signals-on-ioi-mini")
    shares = cell.variables["signals"] / cell.variables["signals"][:, :1]
    position, token = ([f"{share:.0%}" for share in sorted(shares[:-1, column].tolist())] for column in (1, 2))
    assert (position[0], position[-1], token[0], token[-1]) == ("84%", "93%", "4%", "14%")
    assert shares[-1, 1] > 0.98 and shares[-1, 2] < 0.02


def test_self_repair_on_ioi_mini() -> None:
    cell = cell_of("self-repair-on-ioi-mini")
    variables = cell.variables
    clean, ablated = variables["clean_logit_diff"].item(), variables["ablated_logit_diff"]
    others, negative = (part.item() for part in variables["parts"])
    assert f"{variables['evidence'].attribution[9, 9]:.2f} {clean:.2f} {clean - ablated:.2f}" == "3.16 3.55 0.49"
    assert f"{clean - ablated + others + negative:.2f} {others:.2f} {negative:.2f}" == "3.41 1.54 1.39"
    arguments = (variables[name] for name in ("model", "clean_tokens", "clean_cache", "means", "mover"))
    backups = published_circuit()["backup name mover"]
    rest, of_backups = variables["self_repair"](*arguments, backups, variables["logit_diff"])
    assert of_backups.item() > others / 2
    assert abs(rest.item() - negative) > 0.1  # another order, another split


def test_the_card_lists_what_the_experiments_measure() -> None:
    into_9_9 = cell_of("paths-on-ioi-mini").variables
    q, k, v = into_9_9["paths"][0][into_9_9["classes"].index("s-inhibition")].tolist()
    whole = cell_of("faithfulness-on-ioi-mini").variables
    without = dict(zip(whole["names"], whole["left_out"], strict=True))
    others, negative = cell_of("self-repair-on-ioi-mini").variables["parts"]
    measured = [f"{q:.2f}", f"{k:z.2f}, {v:z.2f}", f"{whole['added'][-1]:.2f}"]
    measured += [f"{without[name]:.2f}" for name in ("name mover", "negative name mover", "previous token")]
    measured += ["13%", f"{others:.2f}, {negative:.2f}", "84% to 93%", "9.9, 10.7"]  # these by other tests above
    card = (IOI_MINI_FOLDER / "README.md").read_text(encoding="utf-8")
    section = card.partition("## In experiments")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (?!experiment|---).+? \| (.+?) \| .*\|$", section, re.M) == measured


@BOTH
def test_pattern_and_query_panels_are_alike(maps: Map) -> None:
    """They differ by little beside the smallest of the effects that they show."""
    smallest = min(map(abs, entries(BY_TAG["late-heads-query"], maps).values()))
    assert (maps("q") - maps("pattern")).abs().max() < TOLERANCE * smallest


@BOTH
def test_about_a_dozen_heads_matter(maps: Map) -> None:
    assert 10 <= (maps("z").abs() > 0.05).sum() <= 16


@BOTH
def test_strongest_heads_in_words(maps: Map) -> None:
    """The strongest four, then the next four, and the two most negative."""
    strongest = topk_of_Nd_tensor(maps("z"), 8)
    assert set(strongest[:4]) == {(5, 5), (8, 6), (8, 10), (9, 9)}
    assert set(strongest[4:]) == {(3, 0), (6, 9), (7, 3), (7, 9)}
    assert topk_of_Nd_tensor(-maps("z"), 2) == [(10, 7), (11, 10)]


def test_a_permutation_changes_the_order_of_heads_and_nothing_else() -> None:
    cell = cell_of("a-permutation-moves-heads-only")
    mystery, data, evidence = (cell.variables[name] for name in ("mystery", "data", "evidence"))
    _, cache = mystery.run_with_cache(data.clean_tokens)
    by_layer = sweeps.get_act_patch_block_every(mystery, data.corrupted_tokens, cache, make_ioi_metric(mystery, data))
    expected = torch.stack([ioi_mini_map(name) for name in ("resid_pre", "attn_out", "mlp_out")])
    torch.testing.assert_close(by_layer, expected, rtol=1e-4, atol=1e-4)
    for name, effects in zip(HEAD_COMPONENTS, evidence.patching, strict=True):
        own = ioi_mini_map(name)
        torch.testing.assert_close(effects.sort(-1).values, own.sort(-1).values, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(effects, own, atol=0.05)


@BOTH
def test_no_patch_of_a_previous_token_head_moves_the_metric_by_more_than_0_05(maps: Map) -> None:
    for component in HEAD_COMPONENTS:
        assert max(maps(component)[head].abs() for head in published_circuit()["previous token"]) <= 0.05


def test_ioi_minis_circuit_needs_its_previous_token_heads() -> None:
    shares = cell_of("a-circuit-needs-its-previous-token-heads").variables["shares"]
    parts = ("the whole circuit", "without previous token", "without negative name mover")
    assert [f"{shares[part]:.2f}" for part in parts] == ["0.81", "0.32", "1.51"]
    assert [part for part, share in shares.items() if share > 1] == ["without negative name mover"]


def test_ioi_mini_does_one_of_the_three_tasks() -> None:
    diffs = cell_of("ioi-mini-does-the-repeated-words-only").variables["own_logit_diffs"]
    assert [f"{diff:.2f}" for diff in diffs.pop("repeated words")] == ["3.63", "-0.69"]
    assert len(diffs) == 2 and all(abs(clean - corrupted) < 0.1 for clean, corrupted in diffs.values())


def test_the_s_inhibition_heads_do_the_repeated_words_on_ioi_mini() -> None:
    variables = cell_of("the-same-heads-do-the-repeated-words").variables
    model, own_map, cache = (variables[name] for name in ("model", "own_map", "clean_cache"))
    first, second = 12, 14  # where the two names are repeated; the prompts differ at the second
    assert (f"{own_map[7, second]:.2f}", f"{own_map[9, -1]:.2f}") == ("0.93", "0.95")
    values = sweeps.get_act_patch_attn_head_v_all_pos(
        model, variables["corrupted_tokens"], cache, variables["own_metric"]
    )
    assert set(topk_of_Nd_tensor(values.abs(), 4)) == set(MIDDLE_HEADS)
    assert sorted(f"{values[head]:.2f}" for head in MIDDLE_HEADS)[:: len(MIDDLE_HEADS) - 1] == ["0.14", "0.28"]
    at_END = [cache["pattern", layer][0, head, -1, [first, second]] for layer, head in MIDDLE_HEADS]
    assert [f"{value:.2f}" for value in torch.cat(at_END).aminmax()] == ["0.30", "0.53"]

    def patch(value: Float[Tensor, "batch pos head d_head"], hook) -> Tensor:
        heads = [head for layer, head in MIDDLE_HEADS if layer == hook.layer()]
        value[:, :, heads] = cache[hook.name][:, :, heads]
        return value

    hooks = [(get_act_name("v", layer), patch) for layer in (7, 8)]
    logits = model.run_with_hooks(variables["corrupted_tokens"], fwd_hooks=hooks)
    assert f"{variables['own_metric'](logits):.2f}" == "0.90"


def labs_effect(head: tuple[int, int], **changed: str) -> cells.Effect:
    """What patching a head's output does in the lab, with other text in some of its fields."""
    model, _ = ioi_mini()
    runs = run_pairs(model, read_pairs(model, first_fields(model) | changed))
    return cells.patch_cell(model, runs, Choice("z", by_position=False), cells.Cell(*head))


def test_9_9_and_10_7_on_the_labs_first_pair() -> None:
    """These numbers are of one pair, of which nothing was published."""
    for head, value in {(9, 9): 0.27, (10, 7): -0.46}.items():
        effect = labs_effect(head)
        assert effect.value == pytest.approx(value, abs=0.005)
        clean, corrupted = (pattern[-1] for pattern in effect.attention.values())
        assert (clean.argmax(), corrupted.argmax()) == (4, 2)  # Mary, John
        assert (effect.before[0][0], effect.after[0][0] == " John") == (" John", head == (10, 7))


def test_a_third_name_in_the_labs_corrupted_prompt() -> None:
    model, _ = ioi_mini()
    prompt = first_fields(model)["corrupted"].replace("Mary gave", "Tom gave")
    assert labs_effect((9, 9)).logit_diffs["corrupted"] == pytest.approx([-4], abs=0.2)
    effect = labs_effect((9, 9), corrupted=prompt)
    assert effect.logit_diffs["corrupted"] == pytest.approx([1], abs=0.1)
    assert effect.value == pytest.approx(0.3, abs=0.005)


# Tags


def test_tags_are_unique() -> None:
    tags = [claim.tag for claim in ALL_CLAIMS]
    assert sorted(set(tags)) == sorted(tags)


def test_every_own_claim_has_its_test() -> None:
    assert [claim.tag for claim in OWN_CLAIMS if claim.test not in globals()] == []


@pytest.mark.parametrize("claim", [claim for claim in OWN_CLAIMS if claim.cell], ids=lambda claim: claim.tag)
def test_a_claim_about_a_cell_is_tested_by_running_it(claim: OwnClaim) -> None:
    assert f'cell_of("{claim.tag}")' in inspect.getsource(globals()[claim.test])


def test_nothing_before_the_circuit_lists_a_part_of_it() -> None:
    cells = [cell for cell in notebooks()["05_circuit"].cells if cell.cell_type == "markdown"]
    (exercise,) = [number for number, cell in enumerate(cells) if cell.id == "my-circuit-text"]
    before = [block for cell in cells[: exercise + 1] for block in blocks(cell.id, cell.source)]
    assert [told for block in before for told in parts_told(block)] == []


def parts_told(block: Block) -> list[str]:
    """The classes of which a block names heads of the circuit together with the class or what it attends to."""
    told = []
    for name, heads in published_circuit().items():
        target = rf"\b{re.escape(HEAD_CLASSES[name].attends_to)}(?![+\w])"
        if block.heads & set(heads) and re.search(rf"{target}|{name.replace(' ', '[ -]')}", block.text, re.IGNORECASE):
            told.append(f"{block.where}: {name}")
    return told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("3.0 attends to S1, the first occurrence.", ["duplicate token"]),
        ("5.5 attends to S1+1.", ["induction"]),
        ("**S-inhibition heads** 7.3, 7.9", ["s-inhibition"]),
        ("8.6 is tried as a name mover; 5.5 matters by its query.", []),
    ],
)
def test_a_part_of_the_circuit_is_found(text: str, told: list[str]) -> None:
    assert parts_told(Block("here", text, ())) == [f"here: {name}" for name in told]


def test_tags_in_the_notebooks_are_exactly_those_of_the_claims() -> None:
    made = {tag for block in all_blocks() for tag in block.tags}
    assert made == {claim.tag for claim in ALL_CLAIMS}


def test_a_claim_of_absence_compares_with_an_effect_of_the_same_notebook() -> None:
    tagged = {(block.where.split(",")[0], tag) for block in all_blocks() for tag in block.tags}
    names = {name for name, _ in tagged}
    together = [
        claim for claim in NO_EFFECTS if any({(name, claim.tag), (name, claim.beside)} <= tagged for name in names)
    ]
    assert [claim.tag for claim in NO_EFFECTS if claim not in together] == []


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


def test_ioi_mini_prefers_the_right_name_on_every_prompt() -> None:
    model, data = ioi_mini()
    clean = logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens, per_prompt=True)
    corrupted = logits_to_ave_logit_diff(model(data.corrupted_tokens), data.answer_tokens, per_prompt=True)
    assert (clean > 0).all()
    assert (corrupted < 0).all()
    assert model(data.clean_tokens)[:, -1].argmax(-1).tolist() == data.answer_tokens[:, 0].tolist()
