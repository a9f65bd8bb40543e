"""Time the fast sweeps and transformer_lens.patching side by side: `make bench`.

On ioi-mini, and on models of the sizes of gpt2-small, SmolLM-135M and Pythia-160M with random weights, which take as
long as trained ones. Both sides get the same prompts, cache and metric, and their numbers are compared. Of a long
sweep, `transformer_lens.patching` computes a part that is spread evenly over its cells, and its time is scaled up; each
of its runs takes equally long.
"""

import argparse
import ctypes
import importlib.metadata
import math
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from jaxtyping import Int
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula
from transformer_lens.model_bridge import TransformerBridge

from bench.cells import evenly_spread_cells, patched_cells
from utils import IOIData, load_ioi, load_model, make_ioi_metric, sweeps
from utils.models import DEFAULT_THREADS, IOI_MINI_FOLDER, n_key_value_heads
from utils.references import TOLERANCE
from utils.sweep_specs import ATTENDED_TO, PUBLISHED_SWEEPS
from utils.sweeps.arithmetic import linear

RESULTS = Path(__file__).parent / "results.md"
# Weights this large make most patches change the metric by far more than rounding does.
LARGE_WEIGHTS = {"initializer_range": 0.08}
RANDOM_MODELS: dict[str, transformers.PretrainedConfig] = {
    "gpt2-small's size": transformers.GPT2Config(**LARGE_WEIGHTS),
    "SmolLM-135M's size": transformers.LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
        **LARGE_WEIGHTS,
    ),
    "Pythia-160M's size": transformers.GPTNeoXConfig(
        vocab_size=50_304,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        rotary_pct=0.25,
        **LARGE_WEIGHTS,
    ),
}
MOST_SLOW_RUNS = {"ioi-mini": 720} | dict.fromkeys(RANDOM_MODELS, 180)
GIGA, MIB = 1e9, 2**20


@dataclass
class Row:
    """What was measured of one sweep on one model."""

    sweep: str
    runs: int
    slow_runs: int
    slow_seconds: float
    """Scaled up from `slow_runs` to `runs`."""
    fast_seconds: float
    fast_seconds_with_tokens_read: float
    """With `tokens_read`, the tokens whose logits the metric reads."""
    slow_flop: float
    fast_flop: float
    peak_bytes: int | None
    largest_difference: float
    agrees: bool


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for and write the results file."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MOST_SLOW_RUNS, default=list(MOST_SLOW_RUNS))
    parser.add_argument("--sweeps", nargs="+", choices=PUBLISHED_SWEEPS, default=list(PUBLISHED_SWEEPS))
    parser.add_argument("--slow-runs", type=int, help="run at most so many patched runs of transformer_lens.patching")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to write")
    options = parser.parse_args(arguments)
    text = describe_machine()
    for model_name in options.models:
        with tempfile.TemporaryDirectory() as temporary:
            config = RANDOM_MODELS.get(model_name)
            folder = save_random_model(Path(temporary), config) if config else IOI_MINI_FOLDER
            text += compare(model_name, folder, options.sweeps, options.slow_runs or MOST_SLOW_RUNS[model_name])
    print(text)
    options.out.write_text(text, encoding="utf-8")


def compare(model_name: str, folder: Path, names: list[str], most_slow_runs: int) -> str:
    """Measure one model, and describe the result in Markdown."""
    model = load_model(folder, "cpu")
    data = load_ioi(model)
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    ioi_metric = make_ioi_metric(model, data)

    arguments = (model, data.corrupted_tokens, clean_cache)
    rows = []
    for name in names:
        print(f"{model_name}: {name} ...", flush=True)
        rows.append(measure(name, arguments, ioi_metric, data.answer_tokens, most_slow_runs))
    text = table(model_name, rows)
    return text + peer_line(folder, model, data) if model.cfg.architecture == "GPT2LMHeadModel" else text


def save_random_gpt2(folder: Path) -> Path:
    """Write a random model of gpt2-small's size."""
    return save_random_model(folder, RANDOM_MODELS["gpt2-small's size"])


def save_random_model(folder: Path, config: transformers.PretrainedConfig) -> Path:
    """Write a random model, and a tokenizer."""
    torch.manual_seed(0)
    return save_with_tokenizer(folder, transformers.AutoModelForCausalLM.from_config(config))


def save_with_tokenizer(folder: Path, model: transformers.PreTrainedModel) -> Path:
    """Write a model in Hugging Face format, with ioi-mini's tokenizer, in which the prompts' words are tokens."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(IOI_MINI_FOLDER / file, folder)
    model.save_pretrained(folder)
    return folder


def measure(
    name: str, arguments: tuple, metric: Callable, tokens_read: Int[Tensor, "batch 2"], most_slow_runs: int
) -> Row:
    """Run one sweep on both sides; `arguments` are the model, the corrupted tokens and the clean cache."""
    sweep = partial(getattr(sweeps, PUBLISHED_SWEEPS[name].name), *arguments, metric, progress=False)
    result, peak_bytes = with_peak_memory(sweep)
    model, corrupted_tokens, _ = arguments
    maps = maps_by_component(name, result, model)
    runs = sum(map_.numel() for map_ in maps.values())
    found, expected, seconds = run_slow_side(maps, arguments, metric, most_slow_runs)
    return Row(
        sweep=name,
        runs=runs,
        slow_runs=len(expected),
        slow_seconds=seconds * runs / len(expected),
        fast_seconds=median_seconds(sweep),
        fast_seconds_with_tokens_read=median_seconds(partial(sweep, tokens_read=tokens_read)),
        slow_flop=count_flop(partial(model, corrupted_tokens)) * runs,
        fast_flop=count_flop(sweep),
        peak_bytes=peak_bytes,
        largest_difference=(found - expected).abs().max().item(),
        agrees=torch.allclose(found, expected, **TOLERANCE),
    )


def maps_by_component(name: str, result: Tensor, model: TransformerBridge) -> dict[str, Tensor]:
    """The maps of which the result is a stack, without the columns of keys and values that are only filled up."""
    spec = PUBLISHED_SWEEPS[name]
    maps = result if spec.has_component_axis else result.unsqueeze(0)
    kv_heads = n_key_value_heads(model)
    return {
        component: map_[..., :kv_heads] if component in ATTENDED_TO else map_
        for component, map_ in zip(spec.components, maps, strict=True)
    }


def run_slow_side(
    maps: dict[str, Tensor], arguments: tuple[Any, Any, Any], metric: Callable, most_runs: int
) -> tuple[Tensor, Tensor, float]:
    """The maps' values in some cells, what transformer_lens.patching says there, and its seconds."""
    found, expected, seconds = [], [], 0.0
    for component, map_ in maps.items():
        cells = evenly_spread_cells(map_, most_runs // len(maps))
        started = time.perf_counter()
        expected.append(patched_cells(component, cells, *arguments, metric))
        seconds += time.perf_counter() - started
        found.append(map_[tuple(cells.T)])
    return torch.cat(found), torch.cat(expected), seconds


def median_seconds(function: Callable) -> float:
    """The median of three runs; of a long one, one is enough."""
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < 20:
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


@register_flop_formula(torch.ops.mkldnn._linear_pointwise)
def _flop_of_onednn(x_shape: torch.Size, *_: object, out_shape: torch.Size, **__: object) -> int:
    """PyTorch's counter does not know oneDNN's products by itself."""
    return 2 * math.prod(out_shape) * x_shape[-1]


def count_flop(function: Callable) -> float:
    """The floating-point operations of the function's matrix products, counted by PyTorch."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def matrix_product_peak() -> float:
    """The most operations a second that a product of the MLP's size reaches here, by the faster of two libraries."""
    threads = torch.get_num_threads()
    torch.set_num_threads(DEFAULT_THREADS)
    x, W, b = torch.randn(1024, 768), torch.randn(3072, 768), torch.randn(3072)
    best = 0.0
    for _ in range(60):
        started = time.perf_counter()
        linear(x, W, b)
        best = max(best, 2 * x.numel() * len(W) / (time.perf_counter() - started))
    torch.set_num_threads(threads)
    return best


def with_peak_memory(function: Callable) -> tuple[Tensor, int | None]:
    """What the function returns, and how far the process's memory rose meanwhile; None where the system cannot tell."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what loading the model has left behind would hide what a sweep takes
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use
        before = _memory_status("VmRSS")
    except (OSError, AttributeError):
        return function(), None
    result = function()
    return result, _memory_status("VmHWM") - before


def _memory_status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def peer_line(folder: Path, model: TransformerBridge, data: IOIData) -> str:
    """The time of a patched run of resid_pre with nnsight, where that is installed."""
    try:
        from bench.with_nnsight import seconds_of_a_run
    except ImportError:
        return "nnsight is not installed here, so it is not compared.\n\n"
    seconds, difference = seconds_of_a_run(folder, model, data)
    return (
        f"nnsight {importlib.metadata.version('nnsight')}, which patches the model as transformers runs it, takes "
        f"{seconds:.4f} s for a run of resid_pre, so {180 * seconds:.1f} s for the map (largest difference "
        f"{difference:.1e}).\n\n"
    )


def table(model_name: str, rows: list[Row]) -> str:
    """One model's rows in Markdown, and their sum."""
    peak = matrix_product_peak()
    lines = [
        f"## {model_name}\n",
        f"8 prompts of 15 tokens. Threads: {torch.get_num_threads()} for transformer_lens.patching, as load_model sets "
        f"them, and {DEFAULT_THREADS} for utils.sweeps.\n",
        "| sweep | patched runs | transformer_lens.patching | utils.sweeps | times faster | runs/s | GFLOP/s "
        "| TFLOP | memory above the model | tokens read | largest difference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_line(row, peak) for row in rows]
    runs, slow, fast, named = (
        sum(getattr(row, name) for row in rows)
        for name in ("runs", "slow_seconds", "fast_seconds", "fast_seconds_with_tokens_read")
    )
    lines.append(
        f"| all | {runs:,} | {slow:.1f} s | {fast:.2f} s | **{slow / fast:.0f}** | {runs / fast:.0f} | | "
        f"{sum(row.fast_flop for row in rows) / 1e12:.2f} of {sum(row.slow_flop for row in rows) / 1e12:.1f} | | "
        f"{named:.2f} s | |"
    )
    limit = sum(row.slow_flop for row in rows) / sum(row.fast_flop for row in rows)
    scaled = [row for row in rows if row.slow_runs < row.runs]
    notes = [
        f"A matrix product of the MLP's size reaches {peak / GIGA:.0f} GFLOP/s here; transformer_lens.patching reaches "
        f"{sum(row.slow_flop for row in rows) / slow / GIGA:.0f}. At equal efficiency the whole set would be "
        f"{limit:.0f} times faster.",
        '"tokens read" is the time with the argument `tokens_read`, which names the logits that the metric reads.',
    ]
    if scaled:
        parts = ", ".join(f"{row.sweep} {row.slow_runs} of {row.runs:,} runs" for row in scaled)
        notes.append(f"\\* scaled up from a part that is spread evenly over the map: {parts}.")
    return "\n".join(lines) + "\n\n" + "\n\n".join(notes) + "\n\n"


def _line(row: Row, peak: float) -> str:
    rate = row.fast_flop / row.fast_seconds
    memory = "not measured" if row.peak_bytes is None else f"{row.peak_bytes / MIB:.0f} MiB"
    verdict = "" if row.agrees else " (TOO MUCH)"
    return (
        f"| {row.sweep} | {row.runs:,} | {row.slow_seconds:.1f} s{'*' if row.slow_runs < row.runs else ''} "
        f"| {row.fast_seconds:.2f} s | **{row.slow_seconds / row.fast_seconds:.0f}** "
        f"| {row.runs / row.fast_seconds:.0f} | {rate / GIGA:.0f} ({rate / peak:.0%} of peak) "
        f"| {row.fast_flop / 1e12:.2f} of {row.slow_flop / 1e12:.1f} | {memory} "
        f"| {row.fast_seconds_with_tokens_read:.2f} s | {row.largest_difference:.1e}{verdict} |"
    )


def describe_machine() -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformer_lens"))
    return (
        "# The fast sweeps beside transformer_lens.patching\n\n"
        "Written by `make bench`. One run, both sides; the numbers of the two are compared in the last column.\n\n"
        f"{_cpu_model()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {versions}; float32.\n\n"
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
