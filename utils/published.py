"""The published results for gpt2-small, as data."""

import functools
import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK_COMPONENTS = ("resid_pre", "attn_out", "mlp_out")
HEAD_COMPONENTS = ("z", "q", "k", "v", "pattern")
"""What the first axis of transformer_lens's `..._every` sweeps means."""

PUBLISHED_FILE = Path(__file__).parent / "published" / "gpt2_small_ioi.json"


@functools.cache
def published_results() -> dict:
    """Published results for gpt2-small on the 8 IOI prompts, as they stand in `published/gpt2_small_ioi.json`.

    Others computed them; the entry `"sources"` says who and where. `"patching"` holds the heat maps, each a dictionary
    with `"axes"` and `"values"`.
    """
    return json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))


def published_patching(name: str) -> Float[Tensor, "..."]:
    """A published patching result for gpt2-small as a tensor.

    `name` is `"resid_pre"` [layer pos], `"block_every"` [3 layer pos], `"head_out_all_pos"` [layer head],
    `"head_all_pos_every"` [5 layer head] or `"head_by_pos_every"` [5 layer head pos]; components are in the order of
    transformer_lens: resid_pre, attn_out, mlp_out, and z, q, k, v, pattern. Raises `KeyError` for another name.
    """
    return torch.tensor(published_results()["patching"][name]["values"])


def published_map(component: str) -> Float[Tensor, "layer pos"] | Float[Tensor, "layer head"]:
    """The published map of one component: [layer pos] for those of `BLOCK_COMPONENTS`, [layer head] for heads'."""
    if component in BLOCK_COMPONENTS:
        return published_patching("block_every")[BLOCK_COMPONENTS.index(component)]
    return published_patching("head_all_pos_every")[HEAD_COMPONENTS.index(component)]


def published_map_by_position(component: str) -> Float[Tensor, "layer head pos"]:
    """The published map of one of `HEAD_COMPONENTS`, patched at one position at a time."""
    return published_patching("head_by_pos_every")[HEAD_COMPONENTS.index(component)]


def published_attribution() -> Float[Tensor, "layer head"]:
    """What each head adds directly to the logit difference at END, in logits, averaged over the 8 prompts."""
    return torch.tensor(published_results()["attribution"]["head_logit_diff_attribution"]["values"])
