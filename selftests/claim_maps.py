"""The maps that the notebooks' claims are about, of gpt2-small as published and of ioi-mini, by the same names.

A name is that of an activation (resid_pre, attn_out, mlp_out; z, q, k, v, pattern), of a head's activation "by
position" (`"v by position"`), or "direct" for what each head adds directly to the logit difference.
"""

import functools

from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import utils.sweeps
from selftests.notebook_cells import run_to
from training.published_maps import published_map, published_map_by_position
from utils import IOIData, load_ioi, load_model, make_ioi_metric, published_attribution, reference_sweep
from utils.sweep_specs import SWEEPS

BY_POSITION = " by position"


@functools.cache
def ioi_mini() -> tuple[TransformerBridge, IOIData]:
    model = load_model("ioi-mini", device="cpu")
    return model, load_ioi(model)


def gpt2_small_map(name: str) -> Float[Tensor, "layer place"] | Float[Tensor, "layer head pos"]:
    """Return a published map."""
    if name == "direct":
        return published_attribution()
    if name.endswith(BY_POSITION):
        return published_map_by_position(name.removesuffix(BY_POSITION)).transpose(1, 2)
    return published_map(name)


@functools.cache
def ioi_mini_map(name: str) -> Float[Tensor, "layer place"] | Float[Tensor, "layer head pos"]:
    """Return the same map of ioi-mini, made as the notebooks make it."""
    if name == "direct":
        return run_to("05_circuit", "attribution").variables["attribution"].cpu()
    if name.endswith(BY_POSITION):
        return _by_position(name.removesuffix(BY_POSITION)).transpose(1, 2)
    return reference_sweep(_sweep(name, "layer pos", "layer head"), *ioi_mini())


def _by_position(component: str) -> Float[Tensor, "layer pos head"]:
    model, data = ioi_mini()
    sweep = getattr(utils.sweeps, _sweep(component, "layer pos head"))
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    return sweep(model, data.corrupted_tokens, clean_cache, make_ioi_metric(model, data))


def _sweep(component: str, *axes: str) -> str:
    return next(name for name, spec in SWEEPS.items() if spec.components == (component,) and spec.axes in axes)
