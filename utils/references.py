"""What a sweep should give: `transformer_lens.patching`'s own result, computed once and kept on disk."""

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

from utils.ioi import IOIData, make_ioi_metric
from utils.memoized_forward.blocks import blocks_remembered
from utils.memoized_forward.suffix_cache import KnownEnds, open_ends
from utils.published import BLOCK_COMPONENTS, HEAD_COMPONENTS

NAMES_IN_CONFIG = ("model_name", "tokenizer_name")

# transformer_lens.patching's own definition of these two: other sweeps of it, stacked. Kept parts are not run again.
PARTS = {
    "get_act_patch_block_every": [f"get_act_patch_{component}" for component in BLOCK_COMPONENTS],
    "get_act_patch_attn_head_all_pos_every": [
        f"get_act_patch_attn_head_{'out' if component == 'z' else component}_all_pos" for component in HEAD_COMPONENTS
    ],
}


def reference_sweep(name: str, model: TransformerBridge, data: IOIData) -> Float[Tensor, "..."]:
    """The result of `transformer_lens.patching`'s function `name` on these prompts, with the metric of notebook 01.

    It is the same as

        getattr(patching, name)(model, data.corrupted_tokens, clean_cache, ioi_metric)

    but computed once and kept on disk under `cache_folder()`. The file's name has a hash of everything the result
    depends on besides the sweep: the model's weights and configuration, the prompts, the answers, and the versions of
    torch and transformer_lens. A sweep over several components is put together from those over one.
    """
    fingerprint = _fingerprint(model, data)
    results = [_kept_or_computed(part, model, data, fingerprint) for part in PARTS.get(name, [name])]
    return torch.stack(results) if name in PARTS else results[0]


def known_ends(name: str, model: TransformerBridge, data: IOIData) -> KnownEnds:
    """How the runs of that sweep end, as far as this is kept on disk: `reference_sweep` keeps it with the result.

    It saves whoever does the sweep again on the same kind of processor most of the computation, for some 60 MB on disk
    at most for each component: 80 MB in all for ioi-mini, 300 for gpt2-small.
    """
    fingerprint = _fingerprint(model, data)
    return KnownEnds(_ends_file(part, fingerprint) for part in PARTS.get(name, [name]))


def keep_references(model: TransformerBridge, data: IOIData) -> None:
    """Compute all that `reference_sweep` and `known_ends` give, where it is not kept on disk already."""
    fingerprint = _fingerprint(model, data)
    for part in itertools.chain(*PARTS.values()):  # the other sweeps are among these
        if not _can_be_read(_ends_file(part, fingerprint)) or _read(_file(part, fingerprint)) is None:
            _compute_and_keep(part, model, data, fingerprint)


def _kept_or_computed(name: str, model: TransformerBridge, data: IOIData, fingerprint: str) -> Float[Tensor, "..."]:
    kept = _read(_file(name, fingerprint))
    result = _compute_and_keep(name, model, data, fingerprint) if kept is None else kept
    return result.to(data.tokens.device)


def _compute_and_keep(name: str, model: TransformerBridge, data: IOIData, fingerprint: str) -> Float[Tensor, "..."]:
    ends = KnownEnds()
    result = _compute(name, model, data, ends)
    _write(_file(name, fingerprint), lambda file: save_file({"result": result.detach().cpu().contiguous()}, file))
    _write(_ends_file(name, fingerprint), ends.write)
    return result


def _file(name: str, fingerprint: str) -> Path:
    return cache_folder() / f"{name}-{fingerprint}.safetensors"


def _ends_file(name: str, fingerprint: str) -> Path:
    # With other instructions of the processor, or more threads, the last bit of a sum may be another.
    arithmetic = f"{torch.backends.cpu.get_cpu_capability()}-{torch.get_num_threads()}"
    return _file(name, f"{fingerprint}-{arithmetic}-ends")


def cache_folder() -> Path:
    """Where results are kept: the environment variable `IOI_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("IOI_CACHE") or platformdirs.user_cache_dir("activation-patching"))


def _compute(name: str, model: TransformerBridge, data: IOIData, ends: KnownEnds) -> Float[Tensor, "..."]:
    print(f"Computing transformer_lens.patching.{name} for this model once; it will be kept on disk.")
    model.reset_hooks()
    _, clean_cache = model.run_with_cache(data.tokens)
    # A progress bar on stderr would cost a graded cell its points: nbgrader takes any stderr for a failure.
    with contextlib.redirect_stderr(sys.stdout), blocks_remembered(model, ends=ends):
        return getattr(patching, name)(model, data.corrupted_tokens, clean_cache, make_ioi_metric(model, data))


def _fingerprint(model: TransformerBridge, data: IOIData) -> str:
    digest = hashlib.blake2b(digest_size=16)
    versions = [importlib.metadata.version(package) for package in ("torch", "transformer_lens")]
    # The same model in another folder is the same model.
    config = {key: str(value) for key, value in model.cfg.to_dict().items() if key not in NAMES_IN_CONFIG}
    digest.update(json.dumps([versions, config], sort_keys=True).encode())
    tensors = [data.tokens, data.corrupted_tokens, data.answer_tokens, *model.state_dict().values()]
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _read(file: Path) -> Float[Tensor, "..."] | None:
    """Read a kept result; None where there is none, or where the file is damaged."""
    try:
        return load_file(file)["result"]
    except Exception:
        return None


def _can_be_read(file: Path) -> bool:
    try:
        open_ends(file)
    except (OSError, SafetensorError):
        return False
    return True


def _write(file: Path, save: Callable[[Path], None]) -> None:
    """Keep a file, whole or not at all, also when several kernels write the same one at once."""
    with contextlib.suppress(OSError, SafetensorError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            save(Path(folder) / file.name)
            os.replace(Path(folder) / file.name, file)
