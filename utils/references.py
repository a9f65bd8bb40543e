"""What a sweep should give: `transformer_lens.patching`'s own result, computed once and cached on disk."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import platformdirs
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

from utils.errors import WorkbookError
from utils.ioi import IOIData, make_ioi_metric
from utils.memoized_forward import SuffixCache, memoized_forward
from utils.models import n_key_value_heads
from utils.progress import with_progress_bar
from utils.sweep_specs import ATTENDED_TO, SWEEPS, SweepSpec

TOLERANCE: dict[str, Any] = {"rtol": 1.3e-6, "atol": 1e-5}
"""Where two float32 results count as equal: the defaults of `torch.testing.assert_close`."""
NAMES_IN_CONFIG = ("model_name", "tokenizer_name")


def reference_sweep(name: str, model: TransformerBridge, data: IOIData) -> Float[Tensor, "..."]:
    """Return the result of `transformer_lens.patching`'s function `name` on these prompts, with notebook 01's metric.

    It is the same as

        getattr(patching, name)(model, data.corrupted_tokens, clean_cache, ioi_metric)

    but computed once and cached on disk in `cache_folder()`. The file's name has a hash of everything the result
    depends on besides the sweep: the model's weights and configuration, the prompts, the answers, and the versions of
    torch and transformer_lens. A sweep over several components is stacked from those over one; where query heads share
    keys and values, these have fewer heads, and zeros in place of the others (see `by_query_head`).

    Raises `WorkbookError` for a name that is not in `utils.sweep_specs.SWEEPS`.
    """
    spec, fingerprint = _spec(name), _fingerprint(model, data)
    results = [_read_or_compute(part, model, data, fingerprint) for part in spec.parts]
    columns = max(result.shape[-1] for result in results)
    results = [F.pad(result, (0, columns - result.shape[-1])) for result in results]
    return torch.stack(results) if len(results) > 1 else results[0]


def by_query_head(model: TransformerBridge, result: Float[Tensor, "*axes key_head"]) -> Float[Tensor, "*axes head"]:
    """Return a map of patching keys or values with an entry for each query head, that of the keys or values it reads.

    On a model whose query heads share none, that is the map itself.
    """
    n_heads, shared = model.cfg.n_heads, n_key_value_heads(model)
    return result[..., :shared].repeat_interleave(n_heads // shared, dim=-1)


def cached_suffixes(name: str, model: TransformerBridge, data: IOIData) -> SuffixCache:
    """Return the suffixes of the runs of that sweep, as far as `reference_sweep` has cached them on disk.

    They save most of the computation of the same sweep on the same kind of processor. They take at most 60 MB on disk
    for each component: 80 MB in all for ioi-mini, 300 MB for gpt2-small.
    """
    fingerprint = _fingerprint(model, data)
    return SuffixCache(_suffix_file(part, fingerprint) for part in _spec(name).parts)


def compute_references(model: TransformerBridge, data: IOIData) -> None:
    """Compute what the checks of all exercises read from the disk and is not there already."""
    fingerprint = _fingerprint(model, data)
    for name in ("get_act_patch_block_every", "get_act_patch_attn_head_all_pos_every"):  # the others are among these
        for part in SWEEPS[name].parts:
            has_suffixes = len(SuffixCache([_suffix_file(part, fingerprint)])) > 0
            if not has_suffixes or _read(_file(part, fingerprint)) is None:
                _compute_and_write(part, model, data, fingerprint)


def cache_folder() -> Path:
    """Return the folder of the results: the environment variable `IOI_CACHE`, or in the user's cache folder."""
    return Path(os.environ.get("IOI_CACHE") or platformdirs.user_cache_dir("activation-patching"))


def _spec(name: str) -> SweepSpec:
    if name not in SWEEPS:
        raise WorkbookError(f"transformer_lens.patching has no sweep {name!r}: choose one of {', '.join(SWEEPS)}.")
    return SWEEPS[name]


def _read_or_compute(
    spec: SweepSpec, model: TransformerBridge, data: IOIData, fingerprint: str
) -> Float[Tensor, "..."]:
    cached = _read(_file(spec, fingerprint))
    result = _compute_and_write(spec, model, data, fingerprint) if cached is None else cached
    return result.to(data.clean_tokens.device)


def _compute_and_write(
    spec: SweepSpec, model: TransformerBridge, data: IOIData, fingerprint: str
) -> Float[Tensor, "..."]:
    suffix_cache = SuffixCache()
    result = _compute(spec, model, data, suffix_cache)
    _write(_file(spec, fingerprint), lambda file: save_file({"result": result.detach().cpu().contiguous()}, file))
    _write(_suffix_file(spec, fingerprint), suffix_cache.write)
    return result


def _file(spec: SweepSpec, fingerprint: str) -> Path:
    return cache_folder() / f"{spec.name}-{fingerprint}.safetensors"


def _suffix_file(spec: SweepSpec, fingerprint: str) -> Path:
    # With other instructions of the processor, or more threads, the last bit of a sum may be another.
    arithmetic = f"{torch.backends.cpu.get_cpu_capability()}-{torch.get_num_threads()}"
    return _file(spec, f"{fingerprint}-{arithmetic}-suffixes")


def _compute(
    spec: SweepSpec, model: TransformerBridge, data: IOIData, suffix_cache: SuffixCache
) -> Float[Tensor, "..."]:
    model.reset_hooks()
    _, clean_cache = model.run_with_cache(data.clean_tokens)
    # transformer_lens's own bar is a widget, which a saved notebook does not contain, or else on stderr, which nbgrader
    # treats as a failure.
    with mock.patch.object(patching, "tqdm", with_progress_bar), memoized_forward(model, suffix_cache):
        start = perf_counter()
        ioi_metric = make_ioi_metric(model, data)  # two runs
        n_runs = _number_of_runs(spec, model, data)
        seconds = n_runs * (perf_counter() - start) / 2  # at most, for runs of the sweep are memoized
        time = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        print(
            f"Computing transformer_lens.patching.{spec.name} for this model, once:\n"
            f"  {n_runs} runs, up to {time}; the result is then cached on disk."
        )
        return getattr(patching, spec.name)(model, data.corrupted_tokens, clean_cache, ioi_metric)


def _number_of_runs(spec: SweepSpec, model: TransformerBridge, data: IOIData) -> int:
    cfg, positions = model.cfg, data.clean_tokens.shape[1] if spec.by_position else 1
    heads = [n_key_value_heads(model) if name in ATTENDED_TO else cfg.n_heads for name in spec.components]
    return cfg.n_layers * positions * (sum(heads) if "head" in spec.axes else len(heads))


def _fingerprint(model: TransformerBridge, data: IOIData) -> str:
    digest = hashlib.blake2b(digest_size=16)
    versions = [importlib.metadata.version(package) for package in ("torch", "transformer_lens")]
    # The same model in another folder is the same model.
    config = {key: str(value) for key, value in model.cfg.to_dict().items() if key not in NAMES_IN_CONFIG}
    digest.update(json.dumps([versions, config], sort_keys=True).encode())
    tensors = [data.clean_tokens, data.corrupted_tokens, data.answer_tokens, *model.state_dict().values()]
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _read(file: Path) -> Float[Tensor, "..."] | None:
    """Read a cached result; None where it is missing or corrupt."""
    try:
        return load_file(file)["result"]
    except Exception:
        return None


def _write(file: Path, save: Callable[[Path], None]) -> None:
    """Write a file, whole or not at all, also when several kernels write the same one at once."""
    with contextlib.suppress(OSError, SafetensorError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            save(Path(folder) / file.name)
            os.replace(Path(folder) / file.name, file)
