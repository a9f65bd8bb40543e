"""Tiny random models on which a sweep takes milliseconds, so that luck and stored numbers cannot pass."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from utils.memoized_forward.suffix_cache import KnownEnds

VOCABULARY = 31


@dataclass(frozen=True)
class TinyCase:
    """A sweep's four arguments, on a model whose layers, heads, positions and prompts are all of different number."""

    model: TransformerBridge
    corrupted_tokens: Int[Tensor, "batch pos"]
    clean_cache: ActivationCache
    patching_metric: Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, ""]]
    ends: KnownEnds | None = None
    """How runs of the model end, where that is known."""


def tiny_cases(seed: int = 0) -> Iterator[TinyCase]:
    """Two cases: another model, number of prompts, length and metric each time."""
    yield _tiny_case(seed, n_layers=2, n_heads=3, batch=4, positions=6, metric=_difference_of_two_logits)
    yield _tiny_case(seed + 1, n_layers=4, n_heads=2, batch=3, positions=5, metric=_logit_of_one_token)


@contextlib.contextmanager
def one_thread():
    """On tensors this small a second thread costs more than it brings, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tiny_case(seed: int, n_layers: int, n_heads: int, batch: int, positions: int, metric: Callable) -> TinyCase:
    config = TransformerBridgeConfig(
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=24,
        d_head=7,
        d_mlp=20,
        n_ctx=16,
        d_vocab=VOCABULARY,
        act_fn="gelu",
        seed=seed,
        # Weights this large make every patch change the metric by far more than the tolerance.
        initializer_range=0.5,
    )
    model = TransformerBridge.boot_native(config, device="cpu").eval().requires_grad_(False)
    random = torch.Generator().manual_seed(seed)
    clean_tokens = torch.randint(VOCABULARY, (batch, positions), generator=random)
    corrupted_tokens = clean_tokens.clone()
    corrupted_tokens[:, 1::2] = torch.randint(VOCABULARY, (batch, positions // 2), generator=random)
    _, clean_cache = model.run_with_cache(clean_tokens)
    return TinyCase(model, corrupted_tokens, clean_cache, metric)


def _difference_of_two_logits(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
    return (logits[:, -1, 5] - logits[:, -1, 7]).mean()


def _logit_of_one_token(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
    """An average over two positions, in which each prompt counts more than the one before.

    Other than a difference of two logits at END, it changes with what is done to the logits on their way: a softmax,
    another order of the prompts, positions left out.
    """
    weights = torch.arange(1, len(logits) + 1) / sum(range(1, len(logits) + 1))
    return weights.to(logits.device) @ (logits[:, -1, 3] + logits[:, 2, 3]) / 2
