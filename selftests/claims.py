"""The notebooks' claims about heads, layers and positions, as data.

In a notebook a claim's tag follows the sentence that makes the claim, in a comment that is not displayed:

    Head 9.9 writes most for the answer. <!-- claim: 9.9-writes-most -->

Each claim is tested on ioi-mini and, where there are published numbers, on those of gpt2-small.
"""

from dataclasses import dataclass

from utils.sweep_specs import HEAD_COMPONENTS

S2, END = 10, 14
LAYERS = range(12)
Head = tuple[int, int]


@dataclass(frozen=True)
class Claim:
    """Every entry of a map at the named places lies between `low` and `high`.

    `map_name` is resid_pre, attn_out or mlp_out, whose places are (layer, position), or z, q, k, v or pattern, whose
    places are (layer, head).
    """

    tag: str
    map_name: str
    places: tuple[tuple[int, int], ...]
    low: float = -0.1
    high: float = 1.1

    @property
    def heads(self) -> tuple[Head, ...]:
        return self.places if self.map_name in HEAD_COMPONENTS else ()

    @property
    def layers(self) -> set[int]:
        return {layer for layer, _ in self.places}


EARLY_HEADS = ((3, 0), (5, 5), (6, 9))
MIDDLE_HEADS = ((7, 3), (7, 9), (8, 6), (8, 10))
LATE_HEADS = ((9, 9), (10, 0))
NEGATIVE_HEADS = ((10, 7), (11, 10))
BACKUP_HEADS = ((10, 1), (10, 6), (10, 10))

CLAIMS = [
    Claim("before-S2-nothing", "resid_pre", tuple((layer, pos) for layer in LAYERS for pos in range(S2)), 0.0, 0.0),
    Claim("layer-0-is-1-at-S2", "resid_pre", ((0, S2),), 0.9999, 1.0001),
    Claim("S2-until-layer-7", "resid_pre", tuple((layer, S2) for layer in range(8)), low=0.9),
    Claim("layer-8-at-both", "resid_pre", ((8, S2), (8, END)), low=0.2, high=0.8),
    Claim("END-from-layer-9", "resid_pre", tuple((layer, END) for layer in range(9, 12)), low=0.9),
    Claim("no-longer-at-S2", "resid_pre", tuple((layer, S2) for layer in range(9, 12)), -0.1, 0.1),
    Claim(
        "no-stop-between", "resid_pre", tuple((layer, pos) for layer in LAYERS for pos in range(S2 + 1, END)), -0.1, 0.1
    ),
    Claim("attention-at-S2-early", "attn_out", ((3, S2), (5, S2), (6, S2)), low=0.1),
    Claim("attention-at-END-moves", "attn_out", ((7, END), (8, END)), low=0.2),
    Claim("attention-9-helps", "attn_out", ((9, END),), low=0.15),
    Claim("attention-10-and-11-hurt", "attn_out", ((10, END), (11, END)), low=-0.6, high=-0.1),
    Claim(
        "attention-nowhere-else",
        "attn_out",
        tuple((layer, pos) for layer in LAYERS for pos in range(15) if pos not in (S2, END))
        + tuple((layer, S2) for layer in LAYERS if layer not in (3, 5, 6))
        + tuple((layer, END) for layer in range(7)),
        -0.1,
        0.1,
    ),
    Claim("mlp-0-at-S2", "mlp_out", ((0, S2),), low=0.7),
    Claim(
        "mlps-hardly-matter", "mlp_out", tuple((layer, pos) for layer in range(1, 12) for pos in range(15)), -0.15, 0.15
    ),
    Claim("early-heads", "z", EARLY_HEADS, low=0.08),
    Claim("middle-heads-a-tenth-to-a-third", "z", MIDDLE_HEADS, low=0.09, high=0.36),
    Claim("9.9-matters", "z", ((9, 9),), low=0.2),
    Claim("negative-heads", "z", NEGATIVE_HEADS, low=-0.7, high=-0.2),
    Claim("early-heads-query", "q", EARLY_HEADS, low=0.08),
    Claim("early-heads-pattern", "pattern", EARLY_HEADS, low=0.08),
    Claim("early-heads-not-value", "v", EARLY_HEADS, -0.05, 0.05),
    Claim("middle-heads-value", "v", MIDDLE_HEADS, low=0.08),
    Claim("middle-heads-not-query", "q", MIDDLE_HEADS, -0.05, 0.05),
    Claim("middle-heads-not-pattern", "pattern", MIDDLE_HEADS, -0.05, 0.05),
    Claim("late-heads-query", "q", LATE_HEADS, low=0.05),
    Claim("late-heads-pattern", "pattern", LATE_HEADS, low=0.05),
    Claim("5.5-three-times-3.0", "z", ((5, 5),), low=0.3, high=0.4),
    Claim("3.0-a-third-of-5.5", "z", ((3, 0),), low=0.1, high=0.13),
    Claim("9.6-hardly-when-patched", "z", ((9, 6),), low=-0.08, high=0.0),
    Claim("s-inhibition-key-next-to-nothing", "k", MIDDLE_HEADS, -0.05, 0.05),
    Claim("negative-heads-query", "q", NEGATIVE_HEADS, low=-0.7, high=-0.2),
    Claim("negative-heads-pattern", "pattern", NEGATIVE_HEADS, low=-0.7, high=-0.2),
]


@dataclass(frozen=True)
class PositionClaim:
    """Heads act at one position: patched only there, each has at least the share `least` of its whole effect."""

    tag: str
    heads: tuple[Head, ...]
    position: int
    least: float = 0.9

    @property
    def layers(self) -> set[int]:
        return {layer for layer, _ in self.heads}


POSITION_CLAIMS = [
    PositionClaim("early-heads-act-at-S2", EARLY_HEADS, S2),
    PositionClaim("middle-heads-act-at-END", MIDDLE_HEADS, END),
    PositionClaim("9.9-acts-at-END", ((9, 9),), END),
]


@dataclass(frozen=True)
class AttentionClaim:
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

    @property
    def layers(self) -> set[int]:
        return {layer for layer, _ in self.heads}


ATTENTION_CLAIMS = [
    AttentionClaim("3.0-attends-to-the-duplicate", ((3, 0),), "S2", "S1"),
    AttentionClaim("induction-attends-after-the-duplicate", ((5, 5), (6, 9)), "S2", "S1+1"),
    AttentionClaim("middle-heads-attend-to-S2-in-both-runs", MIDDLE_HEADS, "END", "S2", ("clean", "corrupted")),
    AttentionClaim("9.9-attends-to-IO", ((9, 9),), "END", "IO"),
    AttentionClaim("9.9-attends-to-the-other-name-when-corrupted", ((9, 9),), "END", "S1", ("corrupted",)),
    AttentionClaim("9.6-attends-to-IO", ((9, 6),), "END", "IO"),
    AttentionClaim("10.0-attends-to-IO", ((10, 0),), "END", "IO"),
    AttentionClaim("negative-heads-attend-to-IO", NEGATIVE_HEADS, "END", "IO"),
    AttentionClaim("backups-attend-to-IO", BACKUP_HEADS, "END", "IO", least=0.2),
    AttentionClaim("previous-token-heads", ((2, 2), (4, 11)), "S1+1", "S1"),
]


@dataclass(frozen=True)
class DirectClaim:
    """What a head adds directly to the logit difference, in logits, lies between `low` and `high`."""

    tag: str
    head: Head
    low: float
    high: float

    @property
    def heads(self) -> tuple[Head, ...]:
        return (self.head,)

    @property
    def layers(self) -> set[int]:
        return {self.head[0]}


DIRECT_CLAIMS = [
    DirectClaim("9.9-writes-most", (9, 9), 2.5, 3.5),
    DirectClaim("9.6-writes-second-most", (9, 6), 1.0, 2.0),
    DirectClaim("10.0-writes-for-the-answer", (10, 0), 0.3, 1.0),
    DirectClaim("10.10-writes-for-the-answer", (10, 10), 0.2, 1.0),
    DirectClaim("10.7-writes-against-it", (10, 7), -2.5, -1.5),
    DirectClaim("11.10-writes-against-it", (11, 10), -1.5, -0.8),
    DirectClaim("11.2-writes-against-it", (11, 2), -0.6, -0.2),
]


@dataclass(frozen=True)
class PaperClaim:
    """The paper assigns these heads to this class, for gpt2-small."""

    tag: str
    class_name: str
    heads: tuple[Head, ...]

    @property
    def layers(self) -> set[int]:
        return {layer for layer, _ in self.heads}


PAPER_CLAIMS = [
    PaperClaim("paper-duplicate-token", "duplicate token", ((3, 0),)),
    PaperClaim("paper-induction", "induction", ((5, 5), (6, 9))),
    PaperClaim("paper-previous-token", "previous token", ((2, 2), (4, 11))),
    PaperClaim("paper-s-inhibition", "s-inhibition", MIDDLE_HEADS),
    PaperClaim("paper-name-mover", "name mover", ((9, 9), (9, 6), (10, 0))),
    PaperClaim("paper-backup", "backup name mover", ((11, 2), *BACKUP_HEADS)),
    PaperClaim("paper-negative", "negative name mover", NEGATIVE_HEADS),
]


@dataclass(frozen=True)
class OwnClaim:
    """A claim of another form, which has its own test in `test_claims.py`."""

    tag: str
    test: str
    heads: tuple[Head, ...] = ()
    also_layers: tuple[int, ...] = ()

    @property
    def layers(self) -> set[int]:
        return {layer for layer, _ in self.heads} | set(self.also_layers)


OWN_CLAIMS = [
    OwnClaim("strongest-by-value", "test_strongest_heads_by_value", MIDDLE_HEADS),
    OwnClaim("9.9-and-9.6-write-most", "test_9_9_and_9_6_write_most_for_the_answer", ((9, 9), (9, 6))),
    OwnClaim(
        "others-make-up-for-9.9",
        "test_others_make_up_for_9_9_on_ioi_mini",
        ((9, 9), (10, 0), *BACKUP_HEADS, *NEGATIVE_HEADS),
    ),
    OwnClaim("zeroing-END-before-the-last-block", "test_by_the_last_block_the_answer_stands_at_END"),
    OwnClaim("noising-mirrors-denoising", "test_noising_is_one_minus_denoising", ((9, 9), (10, 7))),
    OwnClaim("averaging-mlp-0-hurts-most", "test_averaging_mlp_0_hurts_prediction_most", also_layers=(0,)),
    OwnClaim("pattern-like-query", "test_pattern_and_query_panels_are_alike"),
    OwnClaim("a-dozen-heads", "test_about_a_dozen_heads_matter"),
    OwnClaim(
        "blue-and-red-heads",
        "test_strongest_heads_in_words",
        (*EARLY_HEADS, *MIDDLE_HEADS, (9, 9), *NEGATIVE_HEADS),
    ),
]

ALL_CLAIMS = [*CLAIMS, *POSITION_CLAIMS, *ATTENTION_CLAIMS, *DIRECT_CLAIMS, *PAPER_CLAIMS, *OWN_CLAIMS]

STRONGEST_BY_VALUE = set(MIDDLE_HEADS)
"""The four heads with the largest effect when their values are patched."""
