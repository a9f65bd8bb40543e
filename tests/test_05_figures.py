"""Notebook 05: the attention patterns of two early heads, as a figure."""

import torch
from jaxtyping import Float
from torch import Tensor

from tests.checks.checking import SHOWN, CheckFailed, NotImplementedYet, variable_check
from tests.checks.figures import HeatMap, find, mean_attention_hint, read_heat_maps
from utils import has_published_heads, heads_or_strongest, load_ioi, model_in_use, reference_sweep
from utils.circuit import Head

Patterns = Float[Tensor, "layer batch head pos_q pos_k"]

HEADS: list[Head] = [(3, 0), (5, 5)]
SWEEP = "get_act_patch_attn_head_q_all_pos"
"""Whose largest effects decide on a model that has other heads."""


@variable_check
def test_early_heads_figure(early_heads_figure: object) -> None:
    """Check the figure of the attention patterns of 3.0 and 5.5, averaged over the 8 IOI prompts.

    On another model than gpt2-small and ioi-mini it is the two heads with the largest effects of patching queries.
    Reads the data of the figure, not its titles or colours: each of the two must be one of its heat maps; heat maps of
    other heads may be there too. The corrupted run gives the same means, for its prompts are those of the clean run in
    another order. Takes a fraction of a second, and on another model as long as the sweep over queries, once.
    """
    if early_heads_figure is ...:  # not None: that is what a learner assigns who calls utils.imshow
        raise NotImplementedYet("early_heads_figure")
    model = model_in_use()
    data = load_ioi(model)
    heads = HEADS if has_published_heads() else heads_or_strongest(HEADS, reference_sweep(SWEEP, model, data))
    checked = f"early_heads_figure draws the mean attention of {_names(heads)} over the 8 IOI prompts"
    heat_maps = read_heat_maps(early_heads_figure, checked, "assign", data.labels)
    model.reset_hooks(including_permanent=True)  # those of an earlier exercise
    _, cache = model.run_with_cache(data.clean_tokens)
    patterns = torch.stack([cache["pattern", layer] for layer in range(model.cfg.n_layers)]).double().cpu()
    missing = [(layer, head) for layer, head in heads if find(patterns[layer].mean(dim=0)[head], heat_maps) is None]
    if missing:
        has = [text for number, one in enumerate(heat_maps, start=1) if (text := _describe(number, one, patterns))]
        raise CheckFailed(
            checked,
            "a heat map of each, averaged over the prompts",
            "; ".join([f"no heat map of {_names(missing)}", *has[:SHOWN]]),
            _hint(heat_maps, missing, patterns),
        )


def _names(heads: list[Head]) -> str:
    return " and ".join(f"{layer}.{head}" for layer, head in heads)


def _describe(number: int, heat_map: HeatMap, patterns: Patterns) -> str:
    """Name the head whose mean pattern a heat map is; empty if it is none's."""
    means = patterns.mean(dim=1).flatten(0, 1)
    found = find(heat_map, list(means))
    return "" if found is None else f"heat map {number} is of {_names([divmod(found, patterns.shape[2])])}"


def _hint(heat_maps: list[HeatMap], missing: list[Head], patterns: Patterns) -> str:
    """Name the usual mistake that draws one of the missing heads."""
    hints = [
        mean_attention_hint(heat_map, patterns[layer][:, head]) for layer, head in missing for heat_map in heat_maps
    ]
    return next(filter(None, hints), "draw these heads as plot_mean_attention of notebook 4 does")
