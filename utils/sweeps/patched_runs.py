"""A sweep, from four arguments to a map; the package's docstring has the idea."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from utils.ioi import Metric
from utils.models import DEFAULT_THREADS
from utils.progress import progress_bar
from utils.sweep_specs import HEAD_COMPONENTS, SweepSpec
from utils.sweeps.arithmetic import Block, SweepError, read_weights, refuse_other_arithmetic, refuse_other_models
from utils.sweeps.patches import (
    AFTER_MLP,
    BEFORE_ATTENTION,
    BEFORE_MLP,
    Patch,
    Runs,
    list_patches,
    patched_residuals,
)

# As many positions, of all runs and prompts of a batch together, make matrix products fast. More would be slower: the
# activations would leave the processor's caches, and fresh memory costs time.
ENOUGH_POSITIONS = 3072
BYTES_OF_LOGITS = 24 * 2**20
# A bound for models larger than gpt2-small and for long prompts; gpt2-small's batches stay well below.
DEFAULT_MEMORY = 256 * 2**20
LARGEST_BLOCK_THAT_COUNTS = 31 * 2**20
END = slice(-1, None)
EVERYWHERE = slice(None)

DOC = """Patch {components}, one at a time, and return the metric of each patched run: [{axes}].

    The arguments, but for the options, and the numbers are those of `transformer_lens.patching.{name}`.
    The metric is called with logits of the usual shape, [batch pos d_vocab], of which only the last position is
    computed; the others hold NaN, so that a metric which reads them is noticed.

    Options:
        tokens_read: the tokens whose logits the metric reads, a tensor of any shape such as answer_tokens; the logits
            of other tokens are not computed then. Default: all tokens.
        all_positions: give the metric the logits of every position, for a metric that reads others than the last.
        max_memory: about how many bytes a batch of patched runs may take, besides the activations of the two runs.
            At least one patched run is computed at a time, and batches are never larger than is fast.
        progress: show a progress bar, on stdout, if the work takes longer than two seconds.

    Raises `SweepError` for a model that does not compute as GPT-2 does, and for a metric that reads other logits.
    """


def make_sweep(spec: SweepSpec) -> Callable[..., Float[Tensor, "..."]]:
    """Return the function of `utils.sweeps` that computes this sweep."""

    def sweep(
        model: TransformerBridge,
        corrupted_tokens: Int[Tensor, "batch pos"],
        clean_cache: ActivationCache,
        patching_metric: Metric,
        *,
        tokens_read: Int[Tensor, "..."] | None = None,
        all_positions: bool = False,
        max_memory: int = DEFAULT_MEMORY,
        progress: bool = True,
    ) -> Float[Tensor, "..."]:
        refuse_other_models(model)
        with torch.no_grad(), _all_threads():
            logits, corrupted = _corrupted_run(model, corrupted_tokens, spec.components)
            runs = Runs(clean_cache, corrupted)
            metric = _MetricOfPatchedRuns(patching_metric, logits, all_positions, tokens_read)
            result = _empty_map(spec, model, logits).fill_(metric.of_corrupted_run)
            patches = list_patches(runs, spec, model.cfg.n_layers, end_only=not all_positions)
            layers = _LayerByLayer(model, runs, logits, EVERYWHERE if all_positions else END, metric.tokens)
            _retain_freed_memory()
            with progress_bar(len(patches), progress) as bar:
                for batch in _batches(patches, model, corrupted_tokens.shape, max_memory):
                    for patch, patched_logits in layers.run(batch, max_memory):
                        result[patch.cell] = metric(patched_logits)
                    bar.update(len(batch))
        if spec.last_axis == "dest_pos":
            result = result.transpose(-1, -2)  # from the order of the other maps by position
        return result if spec.has_component_axis else result[0]

    sweep.__doc__ = DOC.format(components=", ".join(spec.components), axes=spec.axes, name=spec.name)
    sweep.__name__ = sweep.__qualname__ = spec.name
    return sweep


class _LayerByLayer:
    """Computes patched runs layer by layer, each from the layer and place of its patch on."""

    def __init__(
        self,
        model: TransformerBridge,
        runs: Runs,
        logits: Float[Tensor, "batch pos d_vocab"],
        wanted: slice,
        tokens: Int[Tensor, "token"] | None,
    ) -> None:
        self.runs = runs
        self.blocks, self.unembedding = read_weights(model)
        self.wanted = wanted
        self.tokens = tokens
        refuse_other_arithmetic(self.blocks, self.unembedding, runs.unpatched("resid_pre", 0), logits)

    def run(
        self, patches: list[Patch], max_memory: int
    ) -> Iterator[tuple[Patch, Float[Tensor, "batch wanted_pos token"]]]:
        """Yield each patch with the logits of its run, for patches that start at the same position."""
        residual = self._final_residuals(patches)
        bytes_of_logits = residual[0, ..., 0].numel() * self.unembedding.W_U.shape[1] * residual.element_size()
        # A quarter, for the metric makes tensors of this size too.
        at_once = max(1, min(max_memory // 4, BYTES_OF_LOGITS) // bytes_of_logits)
        for first in range(0, len(patches), at_once):
            several = slice(first, first + at_once)
            yield from zip(patches[several], self.unembedding(residual[several], self.tokens), strict=True)

    def _final_residuals(self, patches: list[Patch]) -> Float[Tensor, "patch batch wanted_pos d_model"]:
        """Return the final residual stream of runs that start at the same position, in order of layers and places.

        The batch grows from layer to layer: a run joins it at the layer and place of its patch. Up to there it is the
        corrupted run.
        """
        joining = defaultdict(list)
        for patch in patches:
            joining[patch.layer, patch.place].append(patch)
        earlier = slice(patches[0].start)
        residual = self.runs.unpatched("resid_pre", 0)[:0]  # no runs yet
        for layer, block in enumerate(self.blocks):
            # After the last layer's keys and values have been read, only the wanted positions matter.
            wanted = self.wanted if layer == len(self.blocks) - 1 else EVERYWHERE
            residual = self._join(residual, block, joining[layer, BEFORE_ATTENTION], EVERYWHERE)
            if len(residual):
                earlier_keys, earlier_values = (self.runs.unpatched(name, layer)[:, earlier] for name in "kv")
                residual = block.attention(residual, earlier_keys, earlier_values, wanted)
            residual = self._join(residual, block, joining[layer, BEFORE_MLP], wanted)
            if len(residual):
                residual = block.mlp(residual)
            residual = self._join(residual, block, joining[layer, AFTER_MLP], wanted)
        return residual.unflatten(0, (len(patches), -1))

    def _join(
        self, residual: Float[Tensor, "row _ d_model"], block: Block, patches: list[Patch], wanted: slice
    ) -> Float[Tensor, "more_rows wanted_pos d_model"]:
        """Append the runs whose patch is at this layer and place."""
        joining = [new[:, :, wanted].flatten(0, 1) for new in patched_residuals(self.runs, block, patches)]
        return torch.cat(([residual] if len(residual) else []) + joining) if joining else residual


class _MetricOfPatchedRuns:
    """The caller's metric, called with logits of the usual shape in which only what it reads is filled in.

    That is the last position, or all with `all_positions`; of the last position, it is the tokens `tokens_read` if
    they are given. The rest holds NaN, so that a metric which reads more gives NaN, and is refused, instead of a wrong
    number.
    """

    def __init__(
        self,
        metric: Metric,
        corrupted_logits: Float[Tensor, "batch pos d_vocab"],
        all_positions: bool,
        tokens_read: Int[Tensor, "..."] | None,
    ) -> None:
        self.metric = metric
        self.all_positions = all_positions
        tokens = None if all_positions else tokens_read
        self.tokens = None if tokens is None else torch.as_tensor(tokens).unique().to(corrupted_logits.device)
        self.buffer = corrupted_logits if all_positions else torch.full_like(corrupted_logits, torch.nan)
        self.of_corrupted_run = self._call(corrupted_logits.clone())
        at_end = corrupted_logits[:, END] if self.tokens is None else corrupted_logits[:, END, self.tokens]
        if not torch.allclose(self(at_end), self.of_corrupted_run, equal_nan=True):
            raise SweepError(
                "This patching_metric reads more of the logits than the last position (or than the tokens in "
                "tokens_read): call the sweep with all_positions=True, which computes all of them."
            )

    def __call__(self, logits: Float[Tensor, "batch wanted_pos token"]) -> Float[Tensor, ""]:
        full = self.buffer.clone() if self.all_positions else self.buffer
        wanted_positions = full[:, -logits.shape[1] :]
        wanted_positions[..., EVERYWHERE if self.tokens is None else self.tokens] = logits
        return self._call(full)

    def _call(self, logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
        value = torch.as_tensor(self.metric(logits))
        if value.dim():
            raise SweepError(
                f"The patching_metric returns a tensor of shape {list(value.shape)}, but a map has one number for each "
                "patched run: return a scalar, such as the mean over the prompts."
            )
        return value.float()  # a metric may also count


def _corrupted_run(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], components: tuple[str, ...]
) -> tuple[Float[Tensor, "batch pos d_vocab"], ActivationCache]:
    """Return the logits of the corrupted run, and those of its activations that the sweep needs."""
    needed = {"resid_pre", "resid_mid", "k", "v", *components}
    if set(components) & set(HEAD_COMPONENTS):
        needed |= {"q", "z"}
    names = {get_act_name(component, layer) for component in needed for layer in range(model.cfg.n_layers)}
    return model.run_with_cache(tokens, names_filter=lambda name: name in names)


def _empty_map(spec: SweepSpec, model: TransformerBridge, logits: Tensor) -> Float[Tensor, "component layer *cell"]:
    positions = [logits.shape[1]] if spec.by_position else []
    heads = [model.cfg.n_heads] if "head" in spec.axes else []
    return torch.empty(len(spec.components), model.cfg.n_layers, *positions, *heads, device=logits.device)


def _batches(
    patches: list[Patch], model: TransformerBridge, shape: torch.Size, max_memory: int
) -> Iterator[list[Patch]]:
    """Yield patches with one start position, in order of layers and places, as many at once as memory allows."""
    batch, n_positions = shape
    ordered = sorted(patches, key=lambda patch: (patch.start, patch.layer, patch.place))
    for start, group in groupby(ordered, lambda patch: patch.start):
        together = list(group)
        enough = -(-ENOUGH_POSITIONS // (batch * (n_positions - start)))
        at_once = max(1, min(enough, max_memory // (batch * _bytes_of_a_prompt(model, n_positions, start))))
        for first in range(0, len(together), at_once):
            yield together[first : first + at_once]


def _bytes_of_a_prompt(model: TransformerBridge, n_positions: int, start: int) -> int:
    """Return the bytes of the largest tensors of a layer, for one prompt of one patched run."""
    cfg = model.cfg
    changed = n_positions - start
    d_attention = cfg.n_heads * cfg.d_head
    in_attention = 3 * d_attention * changed + 3 * d_attention * n_positions + cfg.n_heads * changed * n_positions
    in_mlp = 2 * (cfg.d_mlp or 0) * changed
    return 4 * (3 * cfg.d_model * changed + max(in_attention, in_mlp))


@contextlib.contextmanager
def _all_threads() -> Iterator[None]:
    """Use every thread: for a small model `load_model` sets one, but here even its batches are large."""
    threads = torch.get_num_threads()
    torch.set_num_threads(DEFAULT_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _retain_freed_memory() -> None:
    """Have the C library reuse the memory of activations for the next ones.

    glibc returns memory to the system once more is free than twice the largest block freed so far, and allocating it
    again takes longer than filling it. So free a large block.
    """
    torch.empty(LARGEST_BLOCK_THAT_COUNTS, dtype=torch.uint8)  # never written to, and gone at once
