"""What the notebooks say about heads, layers and positions, as data.

Each claim is tested on gpt2-small's published numbers and on ioi-mini.
"""

from dataclasses import dataclass

S2, END = 10, 14
LAYERS = range(12)


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


EARLY_HEADS = ((3, 0), (5, 5), (6, 9))
MIDDLE_HEADS = ((7, 3), (7, 9), (8, 6), (8, 10))
LATE_HEADS = ((9, 9), (10, 0))
NEGATIVE_HEADS = ((10, 7), (11, 10))

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
    Claim("mlp-0-at-S2", "mlp_out", ((0, S2),), low=0.7),
    Claim(
        "mlps-hardly-matter", "mlp_out", tuple((layer, pos) for layer in range(1, 12) for pos in range(15)), -0.15, 0.15
    ),
    Claim("early-heads", "z", EARLY_HEADS, low=0.08),
    Claim("middle-heads-a-tenth-to-a-third", "z", MIDDLE_HEADS, low=0.09, high=0.36),
    Claim("9.9-writes-the-answer", "z", ((9, 9),), low=0.2),
    Claim("negative-heads", "z", NEGATIVE_HEADS, low=-0.7, high=-0.2),
    Claim("early-heads-query", "q", EARLY_HEADS, low=0.08),
    Claim("early-heads-pattern", "pattern", EARLY_HEADS, low=0.08),
    Claim("early-heads-not-value", "v", EARLY_HEADS, -0.05, 0.05),
    Claim("middle-heads-value", "v", MIDDLE_HEADS, low=0.08),
    Claim("middle-heads-not-query", "q", MIDDLE_HEADS, -0.05, 0.05),
    Claim("middle-heads-not-pattern", "pattern", MIDDLE_HEADS, -0.05, 0.05),
    Claim("late-heads-query", "q", LATE_HEADS, low=0.05),
    Claim("late-heads-pattern", "pattern", LATE_HEADS, low=0.05),
    Claim("negative-heads-query", "q", NEGATIVE_HEADS, low=-0.7, high=-0.2),
    Claim("negative-heads-pattern", "pattern", NEGATIVE_HEADS, low=-0.7, high=-0.2),
]


@dataclass(frozen=True)
class AttentionClaim:
    """A head gives more than half of its attention at one position to another, on average over the prompts.

    `run` is clean or corrupted; the positions are those of the clean prompt, so that the corrupted prompt's right
    answer stands at S1. No attention patterns were published, so that these claims are tested on ioi-mini alone.
    """

    tag: str
    head: tuple[int, int]
    run: str
    looks_from: str
    looks_at: str


ATTENTION_CLAIMS = [
    AttentionClaim("3.0-looks-at-the-duplicate", (3, 0), "clean", "S2", "S1"),
    AttentionClaim("5.5-looks-after-the-duplicate", (5, 5), "clean", "S2", "S1+1"),
    AttentionClaim("6.9-looks-after-the-duplicate", (6, 9), "clean", "S2", "S1+1"),
    *(
        AttentionClaim(f"{layer}.{head}-looks-at-S2-{run}", (layer, head), run, "END", "S2")
        for layer, head in MIDDLE_HEADS
        for run in ("clean", "corrupted")
    ),
    AttentionClaim("9.9-looks-at-IO", (9, 9), "clean", "END", "IO"),
    AttentionClaim("9.9-looks-at-the-other-name-when-corrupted", (9, 9), "corrupted", "END", "S1"),
    AttentionClaim("9.6-looks-at-IO", (9, 6), "clean", "END", "IO"),
    AttentionClaim("10.0-looks-at-IO", (10, 0), "clean", "END", "IO"),
]

STRONGEST_BY_VALUE = set(MIDDLE_HEADS)
"""The four heads with the largest effect when their values are patched."""
