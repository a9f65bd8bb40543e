"""Load the model a notebook runs on: gpt2-small, the built-in ioi-mini, or any causal language model.

Every model is loaded in the same way: its name is turned into a folder in Hugging Face format (built in, in the
Hugging Face cache, or just downloaded), and that folder is loaded.
"""

import contextlib
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from utils.errors import ModelError
from utils.sweep_specs import BLOCK_COMPONENTS, HEAD_COMPONENTS

GRADING_MODEL = "ioi-mini"  # and that of pytest, unless the environment variable IOI_MODEL names another
IOI_MINI_FOLDER = Path(__file__).parent / "ioi_mini" / "model"

# The hub has gpt2 under two names; a cache may hold it under either.
HUB_NAMES = dict.fromkeys(("gpt2-small", "gpt2"), ("openai-community/gpt2", "gpt2"))
HUB_TIMEOUT_SECONDS = 3.0

# Below this size a forward pass is mostly Python, and a second thread slows it down.
SMALL_MODEL_PARAMETERS = 20_000_000
DEFAULT_THREADS = torch.get_num_threads()

FALLBACK_NOTE = """Model: ioi-mini, the small model built into this workbook.
The weights of gpt2-small are not in the Hugging Face cache, and the hub does not answer.
ioi-mini was trained to show the same circuit at the same heads, so everything below works,
but it is not the real model.
With a network, load_model("gpt2-small") downloads that one (550 MB, once)."""

OTHER_HEADS_NOTE = """The text speaks of gpt2-small's layers and heads. This model has {} layers of {} heads;
where a cell needs some of these heads, it takes this model's own with the largest effects."""

_in_use: tuple[str, TransformerBridge] | None = None
_preloaded: dict[tuple[str, str], TransformerBridge] = {}
"""Models that `preload_model` loaded and `load_model` has not returned yet, by name and device."""


def load_model(name: str | os.PathLike | None = None, device: str | None = None) -> TransformerBridge:
    """Load a model for the workbook: float32, evaluation mode, no gradients, LayerNorm folded.

    `name` is `"gpt2-small"`, `"ioi-mini"`, the name of another causal language model on the Hugging Face hub, or
    a folder that holds one: any that transformer_lens runs and whose layers all have attention heads and an MLP. The
    default is the environment variable `IOI_MODEL`; where that is unset too, it is gpt2-small if its weights are
    available, and otherwise ioi-mini, with a printed note.

    `device` is `"cpu"`, `"cuda"` or `"mps"`. The default is the environment variable `IOI_DEVICE`, and otherwise
    the accelerator that PyTorch finds, or the CPU.

    Raises `ModelError`, in one sentence, where the requested model cannot be loaded.
    """
    global _in_use
    name, device, note = _choose(name, device)
    model = _preloaded.pop((name, device), None)
    if model is None:
        model = _load_folder(find_model_folder(name), name, device)
    _in_use = (name, model)
    print(note or f"Model: {name}, on {device}.")
    if not has_published_heads():
        print(OTHER_HEADS_NOTE.format(model.cfg.n_layers, model.cfg.n_heads))
    return model


def preload_model(name: str | os.PathLike | None = None, device: str | None = None) -> None:
    """Load a model that the next `load_model` with these arguments returns at once; later ones load it again.

    For a process that is forked afterwards, such as the one from which `make grade` forks kernels: each kernel has its
    own copy of the model. Arguments and errors are those of `load_model`.
    """
    name, device, _ = _choose(name, device)
    _preloaded[name, device] = _load_folder(find_model_folder(name), name, device)


def model_in_use() -> TransformerBridge:
    """Return the model that the checks run on.

    That is the one `load_model` returned last, unless `IOI_MODEL` names another: grading sets it, so that all
    submissions are graded on the same model.
    """
    pinned = os.environ.get("IOI_MODEL", "")
    if _in_use is not None and pinned in ("", _in_use[0]):
        return _in_use[1]
    return load_model(pinned or None)


def model_name() -> str:
    """Return the name of the model loaded last, as passed to `load_model`; for gpt2-small always `"gpt2-small"`."""
    name = _in_use[0] if _in_use else ""
    return "gpt2-small" if name in HUB_NAMES or name in HUB_NAMES["gpt2-small"] else name


def has_published_heads() -> bool:
    """Return whether the model loaded last has the heads of the text: gpt2-small, or ioi-mini, which resembles it."""
    return model_name() in ("gpt2-small", "ioi-mini")


def n_key_value_heads(model: TransformerBridge) -> int:
    """Return how many heads of keys and values each layer has: as many as query heads, or fewer, which these share."""
    return model.cfg.n_key_value_heads or model.cfg.n_heads


def find_model_folder(name: str) -> Path:
    """Return the folder, in Hugging Face format, that holds the model `name`; download it if it is not cached.

    Raises `ModelError` where there is no such folder.
    """
    if name == "ioi-mini":
        return IOI_MINI_FOLDER
    if name not in HUB_NAMES and Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    try:
        return _find_in_cache(name) or _download(name)
    except HFValidationError:
        raise ModelError(
            f"{name!r} is neither a folder on this machine nor a valid name on the Hugging Face hub: pass an "
            'existing folder, or a name such as "gpt2-small" or "ioi-mini".'
        ) from None


def _choose(name: str | os.PathLike | None, device: str | None) -> tuple[str, str, str]:
    """Return the model's name and device, with defaults filled in, and a note if the name is a fallback."""
    name = os.fspath(name) if name else os.environ.get("IOI_MODEL", "")
    device = _choose_device(device or os.environ.get("IOI_DEVICE"))
    if name or _find_in_cache("gpt2-small") or _ask_hub("gpt2-small"):
        return name or "gpt2-small", device, ""
    return "ioi-mini", device, FALLBACK_NOTE


def _find_in_cache(name: str) -> Path | None:
    """Return the cached folder of a hub model, or None if its configuration, weights or tokenizer are missing."""
    for hub_name in HUB_NAMES.get(name, (name,)):
        try:
            folder = Path(huggingface_hub.snapshot_download(hub_name, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        has_weights = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
        if (folder / "config.json").exists() and has_weights and _has_tokenizer(folder):
            return folder
    return None


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / file).exists() for file in ("tokenizer.json", "vocab.json", "tokenizer.model"))


def _ask_hub(name: str) -> huggingface_hub.ModelInfo | None:
    """Return the hub's description of a model, or None if there is no usable answer in time.

    Asks in a separate thread, because a broken name service can hang for half a minute, whatever the timeout.
    """
    answers: list[huggingface_hub.ModelInfo] = []

    def ask() -> None:
        with contextlib.suppress(Exception):
            answers.append(huggingface_hub.model_info(HUB_NAMES.get(name, (name,))[0], timeout=HUB_TIMEOUT_SECONDS))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(HUB_TIMEOUT_SECONDS)
    return answers[0] if answers else None


def _download(name: str) -> Path:
    """Download a model from the hub into the cache and return its folder."""
    info = _ask_hub(name)
    if info is None:
        raise ModelError(
            f"{name} is not in the Hugging Face cache of this machine and the hub is not available now: connect to a "
            "network and try again (it is then cached), check the name, or use the built-in model with "
            'load_model("ioi-mini").'
        )
    files = [file.rfilename for file in info.siblings or []]
    weights = "*.safetensors" if any(file.endswith(".safetensors") for file in files) else "*.bin"
    wanted = ["*.json", "*.txt", "*.model", weights]
    try:
        return Path(huggingface_hub.snapshot_download(info.id, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except Exception as error:  # the hub, the network and the disk raise different errors
        raise ModelError(
            f"{name} could not be downloaded from the Hugging Face hub ({_first_line(error)}): try again, or use the "
            'built-in model with load_model("ioi-mini").'
        ) from None


def _choose_device(wanted: str | None) -> str:
    """Return the requested device, or the best available one."""
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    available = [kind for kind, count in counts.items() if count]
    if wanted is None:
        return available[0]
    with contextlib.suppress(RuntimeError):
        device = torch.device(wanted)
        if (device.index or 0) < counts.get(device.type, 0):
            return wanted
    raise ModelError(f"This machine has no device {wanted!r}: choose one of {', '.join(available)}.")


def _load_folder(folder: Path, name: str, device: str) -> TransformerBridge:
    """Load a folder in Hugging Face format and prepare it as transformer_lens's patching expects it."""
    _refuse_other_models(folder, name)
    if not _has_tokenizer(folder):
        raise ModelError(
            f"The folder of {name} has no tokenizer: put the files that the tokenizer's save_pretrained writes beside "
            "the model's."
        )
    with _quiet_loading():
        try:
            load: Any = transformers.AutoModelForCausalLM.from_pretrained  # its annotation lacks the loading report
            hf_model, report = load(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"The weights of {name} cannot be read ({_first_line(error)}): the files in {folder} are corrupt or "
                "incomplete; delete that folder and download the model again."
            ) from None
        _refuse_missing_weights(report["missing_keys"] or report["mismatched_keys"], folder, name)
        torch.set_num_threads(1 if hf_model.num_parameters() < SMALL_MODEL_PARAMETERS else DEFAULT_THREADS)
        try:
            model = TransformerBridge.boot_transformers(str(folder), hf_model=hf_model.to(device), device=device)
            model.enable_compatibility_mode(disable_warnings=True)
            for block in model.blocks:
                _let_run_alone(block.original_component)
        except Exception as error:
            raise ModelError(
                f"transformer_lens cannot run {name} ({_first_line(error)}): choose a model it supports, such as "
                "gpt2-small."
            ) from None
    _refuse_missing_hook_points(model, name)
    model.eval()
    return model.requires_grad_(False)


def _refuse_missing_hook_points(model: TransformerBridge, name: str) -> None:
    """Raise `ModelError` where a layer lacks an activation that the sweeps patch."""
    layers, components = range(model.cfg.n_layers), BLOCK_COMPONENTS + HEAD_COMPONENTS
    points = [get_act_name(component, layer) for layer in layers for component in components]
    if missing := [point for point in points if point not in model.hook_dict]:
        raise ModelError(
            f"{name} has no {missing[0]} to patch: choose a model whose layers all have attention heads and an MLP, "
            "such as gpt2-small."
        )


def _let_run_alone(block: torch.nn.Module) -> None:
    """Let a block be called with a residual stream alone: the other arguments are then those of the model's last run.

    Rotary positions and masks come to a block as arguments, which depend on nothing but the number of positions.
    """
    last: dict[int, dict[str, Any]] = {}

    def add_arguments(_: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        batch, n_positions = (args[0] if args else kwargs["hidden_states"]).shape[:2]
        # Not the cache of keys and values, which would grow.
        given = {name: value for name, value in kwargs.items() if isinstance(value, torch.Tensor | tuple | None)}
        if given := {name: _of_any_batch(given[name], batch) for name in given.keys() - {"hidden_states"}}:
            last.clear()
            last[n_positions] = given
        return args, last.get(n_positions, {}) | kwargs

    block.register_forward_pre_hook(add_arguments, with_kwargs=True)


def _of_any_batch(value: Any, batch: int) -> Any:
    """Return an argument as it is for one prompt; it is the same for all."""
    if isinstance(value, tuple):
        return tuple(_of_any_batch(part, batch) for part in value)
    return value[:1] if isinstance(value, torch.Tensor) and value.dim() > 1 and len(value) == batch else value


def _refuse_other_models(folder: Path, name: str) -> None:
    """Raise `ModelError` unless the folder's configuration is that of a causal language model."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = config.get("architectures") or []
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a model's folder, because it has no config.json: pass the folder that the Hugging Face "
            "method save_pretrained wrote."
        ) from None
    except (ValueError, AttributeError):
        raise ModelError(
            f"The config.json of {name} is not a valid model configuration: download the model again."
        ) from None
    causal = [kind for kind in architectures if kind.endswith(("ForCausalLM", "LMHeadModel"))]
    if (architectures and not causal) or config.get("is_encoder_decoder"):
        raise ModelError(
            f"{name} holds a {' / '.join(architectures)}, which does not predict the next token from the ones "
            "before it: choose a causal language model, such as gpt2-small."
        )


def _refuse_missing_weights(missing: set, folder: Path, name: str) -> None:
    """Raise `ModelError` where weights are missing, which transformers would fill with random numbers."""
    if missing:
        example = sorted(str(key) for key in missing)[0]
        raise ModelError(
            f"The weights of {name} are incomplete ({len(missing)} tensors are missing or have the wrong shape, for "
            f"example {example}): delete {folder} and download the model again."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__


@contextlib.contextmanager
def _quiet_loading() -> Iterator[None]:
    """Hide progress bars and advice about loading, which a reader can do nothing about."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.ExitStack() as restored:
        restored.callback(transformers.logging.set_verbosity, transformers.logging.get_verbosity())
        if transformers.logging.is_progress_bar_enabled():
            restored.callback(transformers.logging.enable_progress_bar)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        yield
