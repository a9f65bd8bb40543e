"""The notebooks' claims about heads, layers and positions, as data.

In a notebook a claim's tag follows the sentence that makes the claim, in a comment that is not displayed:

    Head 9.9 writes most for the answer. <!-- claim: 9.9-writes-most -->

A claim is a row of one of the lists below. Each is tested on ioi-mini and, where there are published numbers, on those
of gpt2-small. No number in a row is further than `TOLERANCE` from what it judges, as a share of the effect, and neither
is ioi-mini from the published number of the same place.
"""

from dataclasses import dataclass

from utils.sweep_specs import HEAD_COMPONENTS

TOLERANCE = 1 / 3
S2, END = 10, 14
LAYERS = range(12)
Place = tuple[int, ...]
Head = tuple[int, int]


class AboutHeads:
    """A claim about heads, and so about their layers."""

    heads: tuple[Head, ...]

    @property
    def layers(self) -> set[int]:
        return {layer for layer, _ in self.heads}


class AboutPlaces:
    """A claim about places of a map of `selftests.claim_maps`.

    Places are (layer, position) of the maps resid_pre, attn_out and mlp_out, (layer, head, position) of a head's map by
    position, and otherwise (layer, head).
    """

    map_name: str
    places: tuple[Place, ...]

    @property
    def heads(self) -> tuple[Head, ...]:
        is_of_heads = self.map_name.split()[0] in (*HEAD_COMPONENTS, "direct")
        return tuple((layer, head) for layer, head, *_ in self.places) if is_of_heads else ()

    @property
    def layers(self) -> set[int]:
        return {layer for layer, *_ in self.places}


@dataclass(frozen=True)
class Effect(AboutPlaces):
    """At each of the places a map's entry has the sign of `least`, and a size from `least` to `most`."""

    tag: str
    map_name: str
    places: tuple[Place, ...]
    least: float
    most: float | None = None


@dataclass(frozen=True)
class NoEffect(AboutPlaces):
    """At each of the places, or everywhere but there, a map's entry is small beside the effects of another claim.

    It is at most the share `most` of the smallest effect of the claim tagged `beside`, which stands in the same text.
    """

    tag: str
    map_name: str
    places: tuple[Place, ...]
    beside: str
    everywhere_but: bool = False
    most: float = TOLERANCE


EARLY_HEADS = ((3, 0), (5, 5), (6, 9))
MIDDLE_HEADS = ((7, 3), (7, 9), (8, 6), (8, 10))
LATE_HEADS = ((9, 9), (10, 0))
NEGATIVE_HEADS = ((10, 7), (11, 10))
BACKUP_HEADS = ((10, 1), (10, 6), (10, 10))

EFFECTS = [
    Effect("layer-0-is-1-at-S2", "resid_pre", ((0, S2),), least=0.9999, most=1.0001),
    Effect("S2-until-layer-7", "resid_pre", tuple((layer, S2) for layer in range(8)), least=0.9, most=1.1),
    Effect("a-little-after-S2", "resid_pre", ((7, S2 + 1),), least=0.04, most=0.06),
    Effect("layer-8-at-both", "resid_pre", ((8, S2), (8, END)), least=0.3, most=0.7),
    Effect("END-from-layer-9", "resid_pre", tuple((layer, END) for layer in range(9, 12)), least=0.9, most=1.1),
    Effect("attention-at-S2-early", "attn_out", ((3, S2), (5, S2), (6, S2)), least=0.1),
    Effect("attention-at-END-moves", "attn_out", ((7, END), (8, END)), least=0.25),
    Effect("attention-9-helps", "attn_out", ((9, END),), least=0.25),
    Effect("attention-10-and-11-hurt", "attn_out", ((10, END), (11, END)), least=-0.15),
    Effect("mlp-0-at-S2", "mlp_out", ((0, S2),), least=0.8),
    Effect("mlp-5-at-S2", "mlp_out", ((5, S2),), least=0.08, most=0.12),
    Effect("early-heads", "z", EARLY_HEADS, least=0.1),
    Effect("middle-heads-a-tenth-to-a-third", "z", MIDDLE_HEADS, least=0.1, most=1 / 3),
    Effect("9.9-matters", "z", ((9, 9),), least=0.2),
    Effect("late-heads-output", "z", LATE_HEADS, least=0.08),
    Effect("negative-heads", "z", NEGATIVE_HEADS, least=-0.2),
    Effect("11.2-is-negative", "z", ((11, 2),), least=-0.08),
    Effect("9.6-lowers-the-metric", "z", ((9, 6),), least=-0.04, most=-0.06),
    Effect("early-heads-query", "q", EARLY_HEADS, least=0.1),
    Effect("early-heads-pattern", "pattern", EARLY_HEADS, least=0.1),
    Effect("middle-heads-value", "v", MIDDLE_HEADS, least=0.1),
    Effect("9.7-acts-through-its-value", "v", ((9, 7),), least=0.05),
    Effect("late-heads-query", "q", LATE_HEADS, least=0.08),
    Effect("late-heads-pattern", "pattern", LATE_HEADS, least=0.08),
    Effect("negative-heads-query", "q", NEGATIVE_HEADS, least=-0.25),
    Effect("negative-heads-pattern", "pattern", NEGATIVE_HEADS, least=-0.25),
    Effect("negative-heads-key", "k", NEGATIVE_HEADS, least=-0.08),
    Effect("negative-heads-key-at-S2", "k by position", ((10, 7, S2), (11, 10, S2)), least=-0.08),
    Effect("9.9-writes-most", "direct", ((9, 9),), least=2.5),
    Effect("10.0-writes-for-the-answer", "direct", ((10, 0),), least=0.4),
    # ioi-mini's 0.3204 is a third less than the published 0.4802.
    Effect("10.10-writes-for-the-answer", "direct", ((10, 10),), least=0.3202),
    Effect("10.7-writes-against-it", "direct", ((10, 7),), least=-1.5),
    Effect("11.10-writes-against-it", "direct", ((11, 10),), least=-0.8),
    Effect("11.2-writes-against-it", "direct", ((11, 2),), least=-0.3),
]

ATTENTION = ((3, S2), (5, S2), (6, S2), *((layer, END) for layer in range(7, 12)))
BEFORE_S2 = tuple((layer, pos) for layer in LAYERS for pos in range(S2))
AFTER_S2 = tuple((layer, pos) for layer in LAYERS for pos in range(S2 + 1, END))

OPTIONAL_HEADS = ((0, 1), (0, 10), (5, 8), (5, 9))

NO_EFFECTS = [
    NoEffect("before-S2-nothing", "resid_pre", BEFORE_S2, beside="layer-8-at-both", most=0.0),
    NoEffect("no-longer-at-S2", "resid_pre", ((9, S2), (10, S2), (11, S2)), beside="layer-8-at-both", most=0.2),
    NoEffect("no-stop-between", "resid_pre", AFTER_S2, beside="layer-8-at-both", most=0.2),
    NoEffect("attention-0-does-little", "attn_out", ((0, S2),), beside="attention-at-S2-early"),
    NoEffect("attention-nowhere-else", "attn_out", ATTENTION, beside="attention-at-S2-early", everywhere_but=True),
    NoEffect(
        "other-mlps-hardly-matter", "mlp_out", ((0, S2), (5, S2)), beside="attention-at-S2-early", everywhere_but=True
    ),
    NoEffect("early-heads-not-value", "v", EARLY_HEADS, beside="early-heads-query"),
    NoEffect("optional-heads-have-no-effect", "q", OPTIONAL_HEADS, beside="early-heads-query"),
    NoEffect("middle-heads-not-query", "q", MIDDLE_HEADS, beside="middle-heads-value"),
    NoEffect("middle-heads-not-pattern", "pattern", MIDDLE_HEADS, beside="middle-heads-value"),
    NoEffect("middle-heads-not-key", "k", MIDDLE_HEADS, beside="middle-heads-value"),
    # The key of 5.9 reads 0.04 in the published map, and nothing on ioi-mini.
    NoEffect("keys-but-two", "k", (*NEGATIVE_HEADS, (5, 9)), beside="negative-heads-key", everywhere_but=True),
]


@dataclass(frozen=True)
class PositionClaim(AboutHeads):
    """Heads act at one position: patched only there, each has at least the share `least` of its whole effect."""

    tag: str
    heads: tuple[Head, ...]
    position: int
    least: float = 0.9


POSITION_CLAIMS = [
    PositionClaim("early-heads-act-at-S2", EARLY_HEADS, S2),
    PositionClaim("middle-heads-act-at-END", MIDDLE_HEADS, END),
    PositionClaim("9.9-acts-at-END", ((9, 9),), END),
]


@dataclass(frozen=True)
class AttentionClaim(AboutHeads):
    """Heads give more than `least` of their attention at one position to another, on average over the prompts.

    The runs are clean and corrupted; the positions are those of the clean prompt, so that the corrupted prompt's
    correct answer is at S1. No attention patterns were published, so these claims are tested on ioi-mini only.
    """

    tag: str
    heads: tuple[Head, ...]
    attends_from: str
    attends_to: str
    runs: tuple[str, ...] = ("clean",)
    least: float = 0.5


RUNS = ("04_attention_patterns", "runs")
"""The cell that makes the caches of both runs, whose patterns notebook 4 draws."""

ATTENTION_CLAIMS = [
    AttentionClaim("3.0-attends-to-the-duplicate", ((3, 0),), "S2", "S1", least=0.6),
    AttentionClaim("induction-attends-after-the-duplicate", ((5, 5), (6, 9)), "S2", "S1+1", least=0.65),
    AttentionClaim("middle-heads-attend-to-S2-in-both-runs", MIDDLE_HEADS, "END", "S2", ("clean", "corrupted")),
    AttentionClaim("9.9-attends-to-IO", ((9, 9),), "END", "IO", least=0.6),
    AttentionClaim("9.6-attends-to-IO", ((9, 6),), "END", "IO", least=0.6),
    AttentionClaim("10.0-attends-to-IO", ((10, 0),), "END", "IO"),
    AttentionClaim("negative-heads-attend-to-IO", NEGATIVE_HEADS, "END", "IO"),
    AttentionClaim("previous-token-heads", ((2, 2), (4, 11)), "S1+1", "S1", least=0.7),
]


@dataclass(frozen=True)
class PaperClaim(AboutHeads):
    """The paper assigns these heads to this class, for gpt2-small."""

    tag: str
    class_name: str
    heads: tuple[Head, ...]


PAPER_CLAIMS = [
    PaperClaim("paper-duplicate-token", "duplicate token", ((3, 0),)),
    PaperClaim("paper-optional-duplicate-token-heads", "duplicate token", ((0, 1), (0, 10))),
    PaperClaim("paper-optional-induction-heads", "induction", ((5, 8), (5, 9))),
    PaperClaim("paper-induction", "induction", ((5, 5), (6, 9))),
    PaperClaim("paper-previous-token", "previous token", ((2, 2), (4, 11))),
    PaperClaim("paper-s-inhibition", "s-inhibition", MIDDLE_HEADS),
    PaperClaim("paper-name-mover", "name mover", ((9, 9), (9, 6), (10, 0))),
    PaperClaim("paper-backup", "backup name mover", ((11, 2), *BACKUP_HEADS)),
    PaperClaim("paper-other-backups", "backup name mover", ((9, 0), (9, 7), (10, 2), (11, 2), (11, 9))),
    PaperClaim("paper-negative", "negative name mover", NEGATIVE_HEADS),
]


@dataclass(frozen=True)
class OwnClaim(AboutHeads):
    """A claim of another form, which has its own test in `test_claims.py`.

    `cell` is that of the solutions which the claim speaks of and its test runs, as notebook and id of the cell.
    """

    tag: str
    test: str
    heads: tuple[Head, ...] = ()
    also_layers: tuple[int, ...] = ()
    cell: tuple[str, str] | None = None

    @property
    def layers(self) -> set[int]:
        return super().layers | set(self.also_layers)


OWN_CLAIMS = [
    OwnClaim(
        "difference-cancels-what-raises-both",
        "test_the_logit_difference_cancels_what_raises_both_names",
        also_layers=(8,),
        cell=("00_introduction", "logit-diff"),
    ),
    OwnClaim(
        "effects-need-not-add-up",
        "test_what_is_written_adds_up_and_effects_need_not",
        cell=("03_attention_heads", "together"),
    ),
    OwnClaim(
        "position-more-than-token",
        "test_position_restores_more_than_token_on_ioi_mini",
        cell=("05_circuit", "two-signals"),
    ),
    OwnClaim(
        "one-prompt-differs-from-its-corrupted-version",
        "test_a_prompt_can_differ_from_its_corrupted_version_and_a_pair_cannot",
        cell=("01_ioi_metric", "per-prompt"),
    ),
    OwnClaim(
        "answer-not-written-before-layer-9",
        "test_the_logit_lens_before_layer_9_is_near_zero",
        also_layers=(9,),
        cell=("02_residual_stream", "lens"),
    ),
    OwnClaim("ioi-mini-is-not-tied", "test_ioi_minis_embeddings_are_not_tied"),
    OwnClaim("logit-lens-of-gpt2-small", "test_the_published_logit_lens", also_layers=(9,)),
    OwnClaim("layers-7-and-8-write-little", "test_layers_7_and_8_write_little_on_gpt2_small", also_layers=(7, 8)),
    OwnClaim("attention-11-more-than-9", "test_attention_11_lowers_by_more_than_9_raises", also_layers=(9, 11)),
    OwnClaim("mlp-0-above-every-head", "test_mlp_0_at_S2_is_above_every_head", also_layers=(0,)),
    OwnClaim(
        "effects-of-heads-together",
        "test_effects_of_heads_together_on_ioi_mini",
        (*EARLY_HEADS, *MIDDLE_HEADS, *LATE_HEADS),
        also_layers=(7, 8),
        cell=("03_attention_heads", "together"),
    ),
    OwnClaim("clean-key-draws-attention-to-S2", "test_a_clean_key_draws_attention_to_S2_on_ioi_mini", NEGATIVE_HEADS),
    OwnClaim("7.3-attends-after-S2-too", "test_7_3_attends_to_the_position_after_S2_too", ((7, 3),)),
    OwnClaim(
        "8.6-is-no-name-mover",
        "test_8_6_is_no_name_mover",
        ((8, 6),),
        cell=("05_circuit", "evidence-table"),
    ),
    OwnClaim(
        "freezing-the-negative-heads",
        "test_freezing_the_negative_heads_on_ioi_mini",
        ((9, 6), (9, 9), *NEGATIVE_HEADS),
        also_layers=(9,),
        cell=("05_circuit", "freezing"),
    ),
    OwnClaim(
        "strongest-by-value",
        "test_strongest_heads_by_value",
        MIDDLE_HEADS,
        cell=("04_attention_patterns", "value-heads"),
    ),
    OwnClaim("9.9-and-9.6-write-most", "test_9_9_and_9_6_write_most_for_the_answer", ((9, 9), (9, 6))),
    OwnClaim("5.5-three-times-3.0", "test_5_5_has_three_times_the_effect_of_3_0", ((5, 5), (3, 0))),
    OwnClaim(
        "others-make-up-for-9.9",
        "test_others_make_up_for_9_9_on_ioi_mini",
        ((9, 9), (10, 0), *BACKUP_HEADS, *NEGATIVE_HEADS),
        cell=("05_circuit", "backup"),
    ),
    OwnClaim(
        "zeroing-END-before-the-last-block",
        "test_by_the_last_block_the_answer_stands_at_END",
        cell=("02_residual_stream", "hooks-edit"),
    ),
    OwnClaim(
        "noising-mirrors-denoising",
        "test_noising_is_one_minus_denoising",
        ((9, 9), (10, 7)),
        cell=("03_attention_heads", "noising"),
    ),
    OwnClaim(
        "averaging-mlp-0-hurts-most",
        "test_averaging_mlp_0_hurts_prediction_most",
        also_layers=(0,),
        cell=("03_attention_heads", "noising-mlp"),
    ),
    OwnClaim("paths-on-ioi-mini", "test_paths_on_ioi_mini", ((9, 9),), cell=("06_testing_the_circuit", "paths")),
    OwnClaim("26-heads", "test_the_published_circuit_has_26_heads"),
    OwnClaim(
        "faithfulness-on-ioi-mini",
        "test_faithfulness_on_ioi_mini",
        cell=("06_testing_the_circuit", "faithfulness"),
    ),
    OwnClaim(
        "smaller-circuit-on-ioi-mini",
        "test_a_smaller_circuit_on_ioi_mini",
        cell=("06_testing_the_circuit", "smaller"),
    ),
    OwnClaim(
        "signals-on-ioi-mini",
        "test_signals_of_each_head_on_ioi_mini",
        ((9, 9),),
        cell=("06_testing_the_circuit", "signals"),
    ),
    OwnClaim(
        "self-repair-on-ioi-mini",
        "test_self_repair_on_ioi_mini",
        ((9, 9),),
        cell=("06_testing_the_circuit", "repair"),
    ),
    OwnClaim(
        "10.7-by-metric",
        "test_some_metrics_hide_10_7_on_ioi_mini",
        ((10, 7), (9, 6)),
        cell=("07_testing_the_evidence", "metric-maps"),
    ),
    OwnClaim(
        "claims-under-corruptions",
        "test_two_of_six_claims_hold_under_all_corruptions_on_ioi_mini",
        ((9, 9), (5, 5), (8, 6), (9, 6), (4, 11), (10, 7)),
        cell=("07_testing_the_evidence", "corruption-maps"),
    ),
    OwnClaim(
        "backups-once-name-movers-are-ablated",
        "test_backups_matter_once_the_name_movers_are_ablated_on_ioi_mini",
        BACKUP_HEADS,
        cell=("07_testing_the_evidence", "backups-refuted"),
    ),
    OwnClaim(
        "10.7-and-the-probability",
        "test_noising_10_7_moves_the_probability_and_denoising_it_does_not",
        ((10, 7),),
        cell=("07_testing_the_evidence", "noising-refuted"),
    ),
    OwnClaim(
        "4.11-through-induction-heads",
        "test_4_11_acts_through_the_induction_heads_on_ioi_mini",
        ((4, 11),),
        cell=("07_testing_the_evidence", "carrier-refuted"),
    ),
    OwnClaim("pattern-like-query", "test_pattern_and_query_panels_are_alike"),
    OwnClaim("a-dozen-heads", "test_about_a_dozen_heads_matter"),
    OwnClaim(
        "blue-and-red-heads",
        "test_strongest_heads_in_words",
        (*EARLY_HEADS, *MIDDLE_HEADS, (9, 9), *NEGATIVE_HEADS),
    ),
    OwnClaim(
        "a-permutation-moves-heads-only",
        "test_a_permutation_changes_the_order_of_heads_and_nothing_else",
        cell=("08_mystery_model", "evidence"),
    ),
    OwnClaim(
        "a-circuit-needs-its-previous-token-heads",
        "test_ioi_minis_circuit_needs_its_previous_token_heads",
        cell=("08_mystery_model", "shares"),
    ),
    OwnClaim(
        "ioi-mini-does-the-repeated-words-only",
        "test_ioi_mini_does_one_of_the_three_tasks",
        cell=("08_mystery_model", "own-tasks"),
    ),
    OwnClaim(
        "the-same-heads-do-the-repeated-words",
        "test_the_s_inhibition_heads_do_the_repeated_words_on_ioi_mini",
        MIDDLE_HEADS,
        also_layers=(7, 9),
        cell=("08_mystery_model", "own-map"),
    ),
    OwnClaim("lab-first-pair", "test_9_9_and_10_7_on_the_labs_first_pair", ((9, 9), (10, 7))),
    OwnClaim("lab-third-name", "test_a_third_name_in_the_labs_corrupted_prompt", ((9, 9),)),
]

ALL_CLAIMS = [*EFFECTS, *NO_EFFECTS, *POSITION_CLAIMS, *ATTENTION_CLAIMS, *PAPER_CLAIMS, *OWN_CLAIMS]
