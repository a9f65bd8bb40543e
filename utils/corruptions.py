"""Five ways to corrupt the IOI prompts, and what patching each head's output gives under each."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache, patching
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from utils import sweeps
from utils.circuit import Head
from utils.interventions import mean_outputs
from utils.ioi import IOIData, logits_to_ave_logit_diff, with_names_swapped, with_other_names
from utils.plots import heads_or_strongest

SWEEP = "get_act_patch_attn_head_out_all_pos"
NOISE = 3.0
"""The noise's standard deviation, in those of the token embeddings, as in the ROME paper (arXiv 2202.05262)."""

CLAIMED = ((9, 9), (5, 5), (8, 6), (9, 6), (4, 11))
"""The heads of the claims A to E of notebook 7; F is about the one after them."""
CLAIMED_AGAINST = (10, 7)

HeadMap = Float[Tensor, "layer head"]


def corruption_maps(model: TransformerBridge, data: IOIData) -> dict[str, HeadMap]:
    """Return what each head's output decides under five corruptions, as a share of the logit difference they remove.

    Four are denoising: the clean output goes into the corrupted run, 0 is that run and 1 the clean run. Under "mean
    ablation" the head's mean output over the prompts of `with_other_names` goes into the clean run, 0 is the clean run
    and 1 no logit difference at all. The noise is the same in every call.
    """
    sweep = head_sweep(model, data.answer_tokens)
    clean_logits, clean_cache = model.run_with_cache(data.clean_tokens)
    logit_diff = functools.partial(logits_to_ave_logit_diff, answer_tokens=data.answer_tokens)
    clean = logit_diff(clean_logits)

    def restored(tokens: Int[Tensor, "batch pos"]) -> HeadMap:
        corrupted = logit_diff(model(tokens))
        return (sweep(model, tokens, clean_cache, logit_diff) - corrupted) / (clean - corrupted)

    other_names = with_other_names(model, data)
    maps = {
        "S2 swap": restored(data.corrupted_tokens),
        "all names swapped": restored(with_names_swapped(data)),
        "other names": restored(other_names),
    }
    with noise_at_s2(model, data):
        maps["noise at S2"] = restored(data.clean_tokens)
    means = {
        get_act_name("z", layer): mean.expand(len(clean_logits), -1, -1, -1)
        for layer, mean in enumerate(mean_outputs(model, other_names))
    }
    ablated = sweep(model, data.clean_tokens, ActivationCache(means, model), logit_diff)
    return maps | {"mean ablation": 1 - ablated / clean}


def claim_heads(maps: Mapping[str, HeadMap]) -> dict[str, Head]:
    """Return the heads that the claims A to F of notebook 7 are about; of a model without them, its strongest heads.

    `maps` are those of `corruption_maps`. With fewer than five heads, some claims are about the same one.
    """
    effects = maps["S2 swap"]
    [against] = heads_or_strongest([CLAIMED_AGAINST], -effects)
    working = itertools.cycle(heads_or_strongest(list(CLAIMED), effects))
    return dict(zip("ABCDE", working, strict=False)) | {"F": against}


@contextlib.contextmanager
def noise_at_s2(model: TransformerBridge, data: IOIData) -> Iterator[None]:
    """Add Gaussian noise to the token embeddings at S2, another for each prompt, in every run of these prompts."""
    prompts, random = torch.arange(len(data.prompts)), torch.Generator().manual_seed(0)
    noise = NOISE * model.W_E.std() * torch.randn(len(prompts), model.cfg.d_model, generator=random).to(model.W_E)

    def add(module: torch.nn.Module, _: object, embeddings: Float[Tensor, "batch pos d_model"]) -> Tensor:
        noisy = embeddings.clone()
        noisy[prompts, data.positions["S2"]] += noise
        return noisy

    # A hook of torch, for the fast sweeps serve no model with hooks of transformer_lens. It changes what the first
    # block reads and nothing else, so that all runs of a sweep begin with it.
    hook = model.embed.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()


def head_sweep(model: TransformerBridge, tokens_read: Int[Tensor, "..."] | None = None) -> Callable[..., HeadMap]:
    """Return the sweep over the outputs of all heads: the fast one, or else that of transformer_lens.patching.

    `tokens_read` are the tokens whose logits the metric reads, by default all (see `utils.sweeps`).
    """
    if sweeps.why_unsupported(model):
        return getattr(patching, SWEEP)
    return functools.partial(getattr(sweeps, SWEEP), tokens_read=tokens_read)
