"""The published results for gpt2-small, as data."""

import functools
import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from utils.errors import WorkbookError
from utils.sweep_specs import PUBLISHED_SWEEPS

PUBLISHED_FILE = Path(__file__).parent / "published" / "gpt2_small_ioi.json"


@functools.cache
def published_results() -> dict:
    """Return the published results for gpt2-small on the 8 IOI prompts, as in `published/gpt2_small_ioi.json`.

    Others computed them; the entry `"sources"` says who and where. `"patching"` holds the heat maps, each a dictionary
    with `"axes"` and `"values"`.
    """
    return json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))


def published_patching(name: str) -> Float[Tensor, "..."]:
    """Return a published patching result for gpt2-small, its axes in the order of the sweep of transformer_lens.

    `name` is `"resid_pre"` [layer pos], `"block_every"` [3 layer pos], `"head_out_all_pos"` [layer head],
    `"head_all_pos_every"` [5 layer head] or `"head_by_pos_every"` [5 layer pos head]; components are in the order of
    transformer_lens: resid_pre, attn_out, mlp_out, and z, q, k, v, pattern. Raises `WorkbookError` for another name.
    """
    if name not in PUBLISHED_SWEEPS:
        raise WorkbookError(f"There is no published map {name!r}: choose one of {', '.join(PUBLISHED_SWEEPS)}.")
    published = published_results()["patching"][name]
    order = [published["axes"].index(axis) for axis in PUBLISHED_SWEEPS[name].axes.split()]
    return torch.tensor(published["values"]).permute(order)


def published_attribution() -> Float[Tensor, "layer head"]:
    """Return what each head adds directly to the logit difference at END, in logits, averaged over the 8 prompts."""
    return torch.tensor(published_results()["attribution"]["head_logit_diff_attribution"]["values"])
