"""The lab's maps: from a choice to its numbers, its figure, and the lines of code that compute it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache, patching
from transformer_lens.model_bridge import TransformerBridge

from utils import sweeps
from utils.errors import WorkbookError
from utils.ioi import Metric, logits_to_ave_logit_diff
from utils.lab_widgets.prompts import Pairs
from utils.models import n_key_value_heads
from utils.plots import heat_map
from utils.references import by_query_head
from utils.sweep_specs import ATTENDED_TO, BLOCK_COMPONENTS, SWEEPS, SweepSpec

METRICS = {
    "share": "share of the logit difference",
    "difference": "change of the logit difference",
    "probability": "change of the correct answer's probability",
}
DIRECTIONS = {"denoising": ("corrupted", "clean"), "noising": ("clean", "corrupted")}
"""The run that is patched, and the run from which the activations are."""


@dataclass(frozen=True)
class Choice:
    """Which map is shown; all maps are 0 where a patch changes nothing."""

    component: str = "resid_pre"
    by_position: bool = True
    direction: str = "denoising"
    metric: str = "share"

    @property
    def has_heads(self) -> bool:
        """Whether the map has heads; if not, it is always by position."""
        return self.component not in BLOCK_COMPONENTS

    @property
    def spec(self) -> SweepSpec:
        """The sweep that computes it."""
        by_position = self.by_position or not self.has_heads
        candidates = [spec for spec in SWEEPS.values() if spec.components == (self.component,)]
        return next(spec for spec in candidates if spec.by_position == by_position)


@dataclass(frozen=True)
class Runs:
    """The `"clean"` and the `"corrupted"` run of pairs of prompts."""

    pairs: Pairs
    logits: dict[str, Float[Tensor, "batch pos d_vocab"]]
    caches: dict[str, ActivationCache]


class Stopped(Exception):
    """The computation of a map was stopped."""


def run_pairs(model: TransformerBridge, pairs: Pairs) -> Runs:
    """Run the clean and the corrupted prompts. Hooks that are left on the model are removed."""
    model.reset_hooks()
    logits, caches = zip(*(model.run_with_cache(tokens) for tokens in pairs.tokens.values()), strict=True)
    return Runs(pairs, *(dict(zip(pairs.tokens, of_runs, strict=True)) for of_runs in (logits, caches)))


def score(
    logits: Float[Tensor, "batch pos d_vocab"], answer_tokens: Int[Tensor, "batch 2"], metric: str
) -> Float[Tensor, ""]:
    """Return the mean logit difference, or the mean probability of the correct answer."""
    if metric == "probability":
        return logits[:, -1].softmax(-1).gather(-1, answer_tokens[:, :1]).mean()
    return torch.as_tensor(logits_to_ave_logit_diff(logits, answer_tokens))


def make_metric(runs: Runs, choice: Choice) -> Metric:
    """Return the metric: 0 on the patched run without its patch; as a share, 1 on the run the patches are from.

    Raises `WorkbookError` if both runs have the same logit difference, of which there is no share.
    """
    answers = runs.pairs.answer_tokens
    before, source = (score(runs.logits[name], answers, choice.metric) for name in DIRECTIONS[choice.direction])
    scale = source - before if choice.metric == "share" else 1
    if scale == 0:
        raise WorkbookError("Both runs have the same logit difference, so there is no share of it: choose a change.")
    return lambda logits: (score(logits, answers, choice.metric) - before) / scale


def compute_map(
    model: TransformerBridge, runs: Runs, choice: Choice, on_run: Callable[[], object] = lambda: None
) -> Float[Tensor, "layer *axes"]:
    """Return the map: [layer pos], [layer head] or [layer head pos], with an entry for each query head.

    `on_run` is called for each patched run, and may raise `Stopped`.
    """
    metric = make_metric(runs, choice)
    patched, source = DIRECTIONS[choice.direction]

    def observed(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
        on_run()
        return metric(logits)

    arguments = (model, runs.pairs.tokens[patched], runs.caches[source], observed)
    if sweeps.why_unsupported(model):
        with mock.patch.object(patching, "tqdm", iter):
            result = getattr(patching, choice.spec.name)(*arguments)
    else:
        result = getattr(sweeps, choice.spec.name)(*arguments, progress=False)
    if choice.component in ATTENDED_TO:
        result = by_query_head(model, result)
    return result.transpose(1, 2) if choice.spec.axes == "layer pos head" else result


def number_of_runs(model: TransformerBridge, pairs: Pairs, choice: Choice) -> int:
    """Return how many patched runs a map takes: before the first difference, a patch changes nothing."""
    heads = n_key_value_heads(model) if choice.component in ATTENDED_TO else model.cfg.n_heads
    positions = int((pairs.tokens["clean"] != pairs.tokens["corrupted"]).any(0).cumsum(0).bool().sum())
    return model.cfg.n_layers * (positions if choice.spec.by_position else 1) * (heads if choice.has_heads else 1)


def draw(result: Float[Tensor, "layer *axes"], choice: Choice, labels: list[str]) -> go.Figure:
    """Return the figure of a map; one by head and position has a facet for each layer."""
    options: dict[str, Any] = {"x": labels, "xaxis": "position", "yaxis": "layer"}
    if result.ndim == 3:
        options |= {"yaxis": "head", "facet_labels": [f"layer {layer}" for layer in range(len(result))]}
    elif choice.has_heads:
        options |= {"x": None, "xaxis": "head"}
    return heat_map(result, f"Patching {choice.component}, {choice.direction}: {METRICS[choice.metric]}", **options)


CODE = """import torch
{imports}import utils

patched = model.to_tokens({patched}, prepend_bos=True)
source = model.to_tokens({source}, prepend_bos=True)
answers = torch.tensor({answers}, device=patched.device)  # {words}
_, cache = model.run_with_cache(source)


def score(logits):
    return {score}


before, after = score(model(patched)), score(model(source))
result = {call}(
    model, patched, cache, lambda logits: {metric}
){entry}
"""


def code(model: TransformerBridge, pairs: Pairs, choice: Choice, names: Mapping[str, object]) -> str:
    """Return the lines that compute a map in a notebook, with a function of the reader's own where `names` has it."""
    patched, source = (pairs.prompts[name] for name in DIRECTIONS[choice.direction])
    call, entry = _sweep_in_code(model, choice.spec, names)
    if choice.component in ATTENDED_TO and n_key_value_heads(model) < model.cfg.n_heads:
        entry += "\nresult = utils.by_query_head(model, result)"
    probability = "logits[:, -1].softmax(-1).gather(-1, answers[:, :1]).mean()"
    return CODE.format(
        imports="from transformer_lens import patching\n" * call.startswith("patching."),
        patched=patched,
        source=source,
        answers=pairs.answer_tokens.tolist(),
        words=pairs.answers,
        score=probability if choice.metric == "probability" else "utils.logits_to_ave_logit_diff(logits, answers)",
        call=call,
        metric="(score(logits) - before) / (after - before)" if choice.metric == "share" else "score(logits) - before",
        entry=entry,
    )


def _sweep_in_code(model: TransformerBridge, wanted: SweepSpec, names: Mapping[str, object]) -> tuple[str, str]:
    """Return the function that computes a map, and the index of the map if the function computes several."""
    if _is_written(names.get(wanted.name)):
        return wanted.name, ""
    for spec in SWEEPS.values():
        if spec.has_component_axis and wanted in spec.parts and _is_written(names.get(spec.name)):
            return spec.name, f"[{spec.components.index(wanted.components[0])}]"
    return f"{'patching' if sweeps.why_unsupported(model) else 'utils.sweeps'}.{wanted.name}", ""


def _is_written(function: object) -> bool:
    """Return whether it is a function, and not the stub of an exercise."""
    used = getattr(getattr(function, "__code__", None), "co_names", ())
    return callable(function) and "NotImplementedError" not in used
