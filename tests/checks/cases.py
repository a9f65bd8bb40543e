"""The cases on which a sweep is checked: tiny random models, and the loaded model with the 8 IOI prompts."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from utils.ioi import IOIData, make_ioi_metric
from utils.memoized_forward import SuffixCache
from utils.progress import progress_bar

VOCABULARY = 31
"""The number of tokens of a tiny model."""


@dataclass(frozen=True)
class SweepCase:
    """The four arguments of a sweep, and where they are from."""

    model: TransformerBridge
    corrupted_tokens: Int[Tensor, "batch pos"]
    clean_cache: ActivationCache
    patching_metric: Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, ""]]
    description: str = ""
    """For messages, such as `"on the 8 IOI prompts"`."""
    suffix_cache: SuffixCache | None = None
    clean_tokens: Int[Tensor, "batch pos"] | None = None
    """Of a tiny model: the tokens of the clean run."""

    @property
    def arguments(self) -> dict[str, object]:
        """The arguments by the names under which a sweep takes them."""
        names = ("model", "corrupted_tokens", "clean_cache", "patching_metric")
        return {name: getattr(self, name) for name in names}


@contextlib.contextmanager
def loaded_case(
    model: TransformerBridge, data: IOIData, total: int | None = None, suffix_cache: SuffixCache | None = None
) -> Iterator[SweepCase]:
    """Give the case of a loaded model and IOI prompts, with a progress bar for `total` patched runs.

    The metric moves the bar, for a sweep calls it once for each of its runs.
    """
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    ioi_metric = make_ioi_metric(model, data)
    with progress_bar(total) as bar:

        def patching_metric(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
            if bar.n != total:  # the runs that explain a failure are not runs of the sweep
                bar.update()
            return ioi_metric(logits)

        yield SweepCase(
            model, data.corrupted_tokens, clean_cache, patching_metric, "on the 8 IOI prompts", suffix_cache
        )


def tiny_cases(seed: int = 0) -> Iterator[SweepCase]:
    """Yield two cases that take milliseconds: another model, number of prompts, length and metric each time.

    In each, the numbers of layers, heads, positions and prompts all differ, so that luck and stored numbers cannot
    pass.
    """
    yield _tiny_case(seed, n_layers=2, n_heads=3, batch=4, positions=6, metric=_difference_of_two_logits)
    yield _tiny_case(seed + 1, n_layers=4, n_heads=2, batch=3, positions=5, metric=_logit_of_one_token)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: on tensors this small a second one costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tiny_case(seed: int, n_layers: int, n_heads: int, batch: int, positions: int, metric: Callable) -> SweepCase:
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
    boot_native = TransformerBridge.boot_native  # type: ignore[attr-defined]  # transformer_lens adds it at import
    model = boot_native(config, device="cpu").eval().requires_grad_(False)
    random = torch.Generator().manual_seed(seed)
    clean_tokens = torch.randint(VOCABULARY, (batch, positions), generator=random)
    corrupted_tokens = clean_tokens.clone()
    corrupted_tokens[:, 1::2] = torch.randint(VOCABULARY, (batch, positions // 2), generator=random)
    _, clean_cache = model.run_with_cache(clean_tokens)
    description = f"on a random model with {n_layers} layers and {n_heads} heads, {batch} prompts of {positions} tokens"
    return SweepCase(model, corrupted_tokens, clean_cache, metric, description, clean_tokens=clean_tokens)


def _difference_of_two_logits(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
    return (logits[:, -1, 5] - logits[:, -1, 7]).mean()


def _logit_of_one_token(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
    """Average over two positions, each prompt weighing more than the one before.

    Unlike a difference of two logits at END, it changes with what is done to the logits on their way: a softmax,
    another order of the prompts, missing positions.
    """
    weights = torch.arange(1, len(logits) + 1) / sum(range(1, len(logits) + 1))
    return weights.to(logits.device) @ (logits[:, -1, 3] + logits[:, 2, 3]) / 2
