"""Some cells of a map by `transformer_lens.patching`, where all of them would take too long."""

import contextlib
import io
from collections.abc import Callable

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache, patching
from transformer_lens.model_bridge import TransformerBridge

from utils.sweep_specs import HEAD_COMPONENTS
from utils.sweeps import Metric


def patched_cells(
    component: str,
    cells: Int[Tensor, "cell axis"],
    model: TransformerBridge,
    corrupted_tokens: Int[Tensor, "batch pos"],
    clean_cache: ActivationCache,
    patching_metric: Metric,
) -> Float[Tensor, "cell"]:
    """The metric of some patched runs of one component.

    A cell is (layer, pos) for a component of a block, and for one of the heads (layer, head) or (layer, pos, head).
    """
    axes, setter = _axes_and_setter(component, cells.shape[1])
    if axes == ["layer", "head_index", "dest_pos"]:
        cells = cells[:, [0, 2, 1]]
    # Its progress bar goes to stderr.
    with contextlib.redirect_stderr(io.StringIO()):
        return patching.generic_activation_patch(
            model,
            corrupted_tokens,
            clean_cache,
            patching_metric,
            patch_setter=setter,
            activation_name=component,
            index_df=pd.DataFrame(cells.tolist(), columns=axes),
        )


def evenly_spread_cells(map_: Float[Tensor, "*axes"], most: int) -> Int[Tensor, "cell axis"]:
    """At most so many cells of a map, spread evenly: from all layers, positions and heads."""
    count = min(most, map_.numel())
    chosen = torch.linspace(0, map_.numel() - 1, count).round().long()
    return torch.stack(torch.unravel_index(chosen, map_.shape), dim=-1)


def _axes_and_setter(component: str, n_axes: int) -> tuple[list[str], Callable[..., Tensor]]:
    """The names of the axes and the function that `transformer_lens.patching` itself uses for such a sweep."""
    if component not in HEAD_COMPONENTS:
        return ["layer", "pos"], patching.layer_pos_patch_setter
    if component == "pattern" and n_axes == 2:
        return ["layer", "head_index"], patching.layer_head_pattern_patch_setter
    if component == "pattern":
        return ["layer", "head_index", "dest_pos"], patching.layer_head_pos_pattern_patch_setter
    if n_axes == 2:
        return ["layer", "head"], patching.layer_head_vector_patch_setter
    return ["layer", "pos", "head"], patching.layer_pos_head_vector_patch_setter
