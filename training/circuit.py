"""Which head plays which part in ioi-mini, and which parts of the residual stream each may read and write.

The head classes are those of Wang et al. 2022 (arXiv 2211.00593), with a few more heads that show in the
published patching maps. In gpt2-small the circuit was found; here it is placed: the residual stream is cut
into named subspaces, and a head may read and write only the subspaces of its role.
"""

from dataclasses import dataclass
from itertools import accumulate

N_LAYERS, N_HEADS, D_HEAD, D_MLP = 12, 12, 16, 96

SUBSPACE_SIZES = {
    "token": 16,  # the embedding
    "position": 12,  # the position embedding
    "mlp0_token": 16,  # the token once more, written by MLP0: "extended embedding", read by all later heads
    "previous": 16,  # the token before this one
    "duplicate": 40,  # this token came before, and where
    "inhibition": 40,  # at END: which name is the repeated one
    "output": 16,  # what the unembedding reads
    "cue": 16,  # what the name movers say to the negative heads only
    "sink": 1,  # set at BOS only: where a head looks when it has nothing to do
    "free": 19,  # for the heads and MLPs outside the circuit
}
D_MODEL = sum(SUBSPACE_SIZES.values())


def _subspaces() -> dict[str, slice]:
    """Lay the subspaces side by side along the residual stream."""
    ends = list(accumulate(SUBSPACE_SIZES.values()))
    return {name: slice(end - size, end) for (name, size), end in zip(SUBSPACE_SIZES.items(), ends, strict=True)}


SUBSPACES = _subspaces()


@dataclass(frozen=True)
class Role:
    """What a kind of head reads into query, key and value, and where it writes: names of subspaces."""

    query: str
    key: str
    value: str
    writes: str


NAME_MOVER = Role("inhibition token", "mlp0_token position duplicate sink", "token mlp0_token", "output cue")

ROLES = {
    "early duplicate": Role("token position", "token position sink", "position token", "duplicate"),
    "duplicate": Role("token mlp0_token position", "token mlp0_token position sink", "position token", "duplicate"),
    "previous": Role("position", "position sink", "token mlp0_token", "previous"),
    "induction": Role("token mlp0_token", "previous sink", "position previous", "duplicate"),
    # Copies the duplicate signal from S2 to S2+1, where 7.3 reads some of it.
    "relay": Role("position", "position sink", "duplicate", "duplicate"),
    "inhibition": Role("token previous", "duplicate mlp0_token sink", "duplicate", "inhibition"),
    "inhibition and relay": Role("token previous", "duplicate mlp0_token sink", "duplicate", "inhibition"),
    "name mover": NAME_MOVER,
    "backup name mover": NAME_MOVER,
    # Copy suppression: the query is what earlier layers are about to say, not the inhibition signal. This
    # makes the effects of layers 9 to 11 depend on each other as they do in gpt2-small.
    "negative": Role("output cue token", "mlp0_token sink", "token mlp0_token", "output"),
}

HEADS = {
    (0, 1): "early duplicate",
    (0, 5): "early duplicate",
    (0, 10): "early duplicate",
    (2, 2): "previous",
    (3, 0): "duplicate",
    (3, 4): "duplicate",
    (4, 3): "relay",
    (4, 11): "previous",
    (5, 5): "induction",
    (5, 8): "induction",
    (5, 9): "induction",
    (6, 0): "relay",
    (6, 9): "induction",
    (7, 1): "induction",
    (7, 3): "inhibition and relay",
    (7, 9): "inhibition",
    (8, 6): "inhibition",
    (8, 10): "inhibition",
    (9, 6): "name mover",
    # Its published effect comes through its values at S2, like that of an S-inhibition head.
    (9, 7): "inhibition",
    (9, 9): "name mover",
    (10, 0): "name mover",
    (10, 1): "backup name mover",
    (10, 6): "backup name mover",
    (10, 7): "negative",
    (10, 10): "backup name mover",
    (11, 2): "negative",
    (11, 10): "negative",
}

# layer -> (reads, writes); the other MLPs are small fixed noise
MLPS = {
    0: ("token", "mlp0_token"),
    5: ("duplicate mlp0_token", "duplicate"),
    8: ("token mlp0_token previous position inhibition", "output"),
    9: ("token mlp0_token previous position output", "output"),
    10: ("token mlp0_token previous position output", "output"),
    11: ("token mlp0_token previous position output", "output"),
}
