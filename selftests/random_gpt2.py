"""Random models in GPT-2's format, cases of a sweep on them, and the sweeps of transformer_lens."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
import transformers
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

from bench.__main__ import save_with_tokenizer
from tests.checks.cases import SweepCase

VOCABULARY = 1098


def save_gpt2(folder: Path, **config) -> Path:
    """Write a random GPT-2 in Hugging Face format, with ioi-mini's tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config))
        with torch.no_grad():
            for weight in model.parameters():
                # Gains and biases matter too; transformers leaves them at 1 and 0.
                if weight.dim() == 1:
                    weight += 0.1 * torch.randn_like(weight)
    return save_with_tokenizer(folder, model)


TINY_GPT2 = {
    "n_layer": 3,
    "n_head": 2,
    "n_embd": 24,
    "n_inner": 40,
    "n_positions": 32,
    "vocab_size": VOCABULARY,
    # Weights this large make every patch change the metric by far more than the tolerance.
    "initializer_range": 0.4,
}


def logit_difference(logits: torch.Tensor) -> torch.Tensor:
    return (logits[:, -1, 5] - logits[:, -1, 7]).mean()


def make_case(
    model: TransformerBridge,
    batch: int = 3,
    positions: int = 7,
    differing: tuple[int, ...] = (3,),
    metric: Callable = logit_difference,
) -> SweepCase:
    """A sweep's arguments: random prompts, clean and corrupted, that differ at some positions."""
    random = torch.Generator().manual_seed(batch + positions)
    clean = torch.randint(model.cfg.d_vocab, (batch, positions), generator=random)
    corrupted = clean.clone()
    for position in differing:
        corrupted[:, position] = (clean[:, position] + 1 + torch.arange(batch)) % model.cfg.d_vocab
    _, clean_cache = model.run_with_cache(clean)
    return SweepCase(model, corrupted, clean_cache, metric)


def slow(name: str, case: SweepCase) -> torch.Tensor:
    with mock.patch.object(patching, "tqdm", wraps=list):
        sweep = getattr(patching, name)
        return sweep(case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric)
