"""The published maps of single components, which the training aims at and the report compares with."""

from jaxtyping import Float
from torch import Tensor

from utils.published import published_patching
from utils.sweep_specs import BLOCK_COMPONENTS, HEAD_COMPONENTS


def published_map(component: str) -> Float[Tensor, "layer pos"] | Float[Tensor, "layer head"]:
    """Return the published map of one component: [layer pos] for `BLOCK_COMPONENTS`, [layer head] for heads'."""
    if component in BLOCK_COMPONENTS:
        return published_patching("block_every")[BLOCK_COMPONENTS.index(component)]
    return published_patching("head_all_pos_every")[HEAD_COMPONENTS.index(component)]


def published_map_by_position(component: str) -> Float[Tensor, "layer pos head"]:
    """Return the published map of one of `HEAD_COMPONENTS`, patched at one position at a time."""
    return published_patching("head_by_pos_every")[HEAD_COMPONENTS.index(component)]
