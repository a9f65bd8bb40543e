"""The same patched runs with nnsight, for the comparison only: `pip install nnsight` in an environment of its own."""

import time
from pathlib import Path

import torch
import transformers
from nnsight import NNsight
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from bench.cells import patched_cells
from utils import IOIData, make_ioi_metric


def seconds_of_a_run(folder: Path, model: TransformerBridge, data: IOIData) -> tuple[float, float]:
    """How long a patched run of resid_pre takes, and how far the metric is from transformer_lens.patching's.

    nnsight runs the model as transformers loads it, without transformer_lens.
    """
    hf_model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    clean_residuals = hf_model(data.clean_tokens, output_hidden_states=True).hidden_states
    metric = make_ioi_metric(model, data)
    cells = [(layer, pos) for layer in range(0, 12, 3) for pos in range(10, 15)]
    traced_model = NNsight(hf_model)
    started = time.perf_counter()
    found = []
    for layer, pos in cells:
        clean = clean_residuals[layer][:, pos]
        found.append(metric(_patched_logits(traced_model, layer, pos, clean, data.corrupted_tokens)))
    seconds = (time.perf_counter() - started) / len(cells)
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    expected = patched_cells("resid_pre", torch.tensor(cells), model, data.corrupted_tokens, clean_cache, metric)
    return seconds, (torch.stack(found) - expected).abs().max().item()


@torch.no_grad()
def _patched_logits(model: NNsight, layer: int, pos: int, clean: Tensor, tokens: Tensor) -> Tensor:
    with model.trace(tokens):
        model.transformer.h[layer].input[:, pos] = clean
        logits = model.lm_head.output.save()
    return logits
