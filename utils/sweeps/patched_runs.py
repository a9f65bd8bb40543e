"""A sweep, from four arguments to a map; the package's docstring has the idea."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from utils.ioi import Metric
from utils.models import DEFAULT_THREADS, n_key_value_heads
from utils.progress import progress_bar
from utils.sweep_specs import ATTENDED_TO, HEAD_COMPONENTS, SweepSpec
from utils.sweeps.layers import Block, Ragged, SweepError, Unembedding, read_layers, refusal
from utils.sweeps.patches import (
    AFTER_MLP,
    BEFORE_ATTENTION,
    BEFORE_MLP,
    Patch,
    Runs,
    list_patches,
    nothing_patched,
    patched_residuals,
)

# As many positions, of all runs and prompts of a batch together, make matrix products fast. More would be slower: the
# activations would leave the processor's caches, and fresh memory costs time.
ENOUGH_POSITIONS = 3072
BYTES_OF_LOGITS = 24 * 2**20
MIB = 2**20
DEFAULT_MEMORY = 512 * MIB
LARGEST_BLOCK_THAT_COUNTS = 31 * MIB
RETAINED_MEMORY = 2 * LARGEST_BLOCK_THAT_COUNTS
END = slice(-1, None)
EVERYWHERE = slice(None)

# Other arithmetic gives logits that differ by far more than this fraction; another order of summation, by far less.
ARITHMETIC_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}

DOC = """Patch {components}, one at a time, and return the metric of each patched run: [{axes}].

    The arguments, but for the options, and the numbers are those of `transformer_lens.patching.{name}`.
    The metric is called with logits of the usual shape, [batch pos d_vocab], of which only the last position is
    computed; the others hold NaN, so that a metric which reads them is noticed.

    Options:
        tokens_read: the tokens whose logits the metric reads, a tensor of any shape such as answer_tokens; the logits
            of other tokens are not computed then. Default: all tokens.
        all_positions: give the metric the logits of every position, for a metric that reads others than the last.
        max_memory: how many bytes the sweep's tensors may take at a time, besides the model and clean_cache; the
            process takes up to half as much again. Batches are never larger than is fast.
        progress: show a progress bar, on stdout, if the work takes some two seconds or more.

    Raises `SweepError` for a model of another kind (see `why_unsupported`), for an activation that the model does not
    have, for a metric that reads other logits, and where one patched run takes more than max_memory.
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
        with torch.no_grad(), _all_threads():
            blocks, unembedding = read_layers(model, corrupted_tokens.shape[1])
            logits, corrupted = _corrupted_run(model, blocks, corrupted_tokens, spec.components)
            runs = Runs(clean_cache, corrupted)
            metric = _MetricOfPatchedRuns(patching_metric, logits, all_positions, tokens_read)
            result = _empty_map(spec, model, logits).fill_(metric.of_corrupted_run)
            patches = list_patches(runs, spec, blocks, end_only=not all_positions)
            wanted = EVERYWHERE if all_positions else END
            layers = _LayerByLayer(blocks, unembedding, runs, wanted, metric.tokens)
            budget = _Budget(model, corrupted, logits, wanted, max_memory)
            _retain_freed_memory()
            with progress_bar(len(patches), progress) as bar:
                for batch in budget.batches(patches):
                    for patch, patched_logits in layers.run(batch, budget.logits_at_once):
                        if patch.cell:
                            result[patch.cell] = metric(patched_logits)
                            bar.update()
                        else:
                            _refuse_other_arithmetic(patched_logits, logits, metric.tokens)
        return _in_the_axes_of(spec, result, model)

    sweep.__doc__ = DOC.format(components=", ".join(spec.components), axes=spec.axes, name=spec.name)
    sweep.__name__ = sweep.__qualname__ = spec.name
    return sweep


def why_unsupported(model: object) -> str:
    """Return one sentence that says why the fast sweeps do not serve this model; empty if they do.

    It reads the model's parts, runs the model once on a few tokens, and compares with the run from the embedding on.
    """
    try:
        with torch.no_grad():
            blocks, unembedding = read_layers(model, 4)
            assert isinstance(model, TransformerBridge)
            tokens = torch.arange(4, device=model.cfg.device)[None] + model.cfg.d_vocab // 2
            logits, corrupted = _corrupted_run(model, blocks, tokens, ())
            layers = _LayerByLayer(blocks, unembedding, Runs(corrupted, corrupted), END, None)
            [(_, found)] = layers.run([nothing_patched(1)])
            _refuse_other_arithmetic(found, logits, None)
    except SweepError as error:
        return str(error)
    return ""


def _refuse_other_arithmetic(
    found: Float[Tensor, "batch wanted_pos token"],
    logits: Float[Tensor, "batch pos d_vocab"],
    tokens: Int[Tensor, "token"] | None,
) -> None:
    """Raise `SweepError` unless a run in which nothing is patched gives the logits that the model gave.

    So a model that computes more than its parts show cannot lead to wrong numbers.
    """
    expected = logits[:, -found.shape[1] :]
    error = (found - (expected if tokens is None else expected[..., tokens])).abs().max()
    if not error <= ARITHMETIC_TOLERANCE[logits.dtype] * expected.abs().max():
        raise refusal("it computes something that its parts do not show")


class _LayerByLayer:
    """Computes patched runs layer by layer, each from the layer and place of its patch on."""

    def __init__(
        self,
        blocks: list[Block],
        unembedding: Unembedding,
        runs: Runs,
        wanted: slice,
        tokens: Int[Tensor, "token"] | None,
    ) -> None:
        self.blocks, self.unembedding, self.runs, self.wanted, self.tokens = blocks, unembedding, runs, wanted, tokens
        # Where there are no rotary positions, these are the cached ones and take no memory.
        self.keys = [runs.placed_keys(block, layer) for layer, block in enumerate(blocks)]

    def run(
        self, patches: list[Patch], logits_at_once: int = 1
    ) -> Iterator[tuple[Patch, Float[Tensor, "batch wanted_pos token"]]]:
        """Yield each patch with the logits of its run, for patches in order of layers, places and starts."""
        batch = len(self.runs.unpatched("resid_pre", 0))
        by_start = sorted(patches, key=lambda patch: patch.start)  # in order of layers still, as they joined
        for residual in self._final_residual(patches).groups():
            together, by_start = by_start[: len(residual) // batch], by_start[len(residual) // batch :]
            for first in range(0, len(together), logits_at_once):
                several = slice(first, first + logits_at_once)
                logits = self.unembedding(residual.unflatten(0, (-1, batch))[several], self.tokens)
                yield from zip(together[several], logits, strict=True)

    def _final_residual(self, patches: list[Patch]) -> Ragged:
        """Return the final residual stream of patched runs, one group for each position at which runs start.

        The batch grows from layer to layer: a run joins it at the layer and place of its patch. Up to there it is the
        corrupted run.
        """
        joining = defaultdict(list)
        for patch in patches:
            joining[patch.layer, patch.place].append(patch)
        starts = sorted({patch.start for patch in patches})
        no_runs = self.runs.unpatched("resid_pre", 0)[:0]
        residual = Ragged.of([no_runs[:, start:] for start in starts])
        for layer, block in enumerate(self.blocks):
            # After the last layer's keys and values have been read, only the wanted positions matter.
            wanted = self.wanted if layer == len(self.blocks) - 1 else EVERYWHERE

            def join(residual: Ragged, place: int, wanted: slice, layer: int = layer, block: Block = block) -> Ragged:
                """Append the runs whose patch is at this layer and place."""
                new = defaultdict(list)
                for start, several in patched_residuals(self.runs, block, joining[layer, place], wanted):
                    new[start].append(several.flatten(0, 1))
                if not new:
                    return residual
                groups = zip(residual.groups(), starts, strict=True)
                return Ragged.of([torch.cat([group, *new[start]]) for group, start in groups])

            residual = join(residual, BEFORE_ATTENTION, EVERYWHERE)
            before = residual.at(wanted)
            if len(residual.flat):
                residual = block.attention(residual, self.keys[layer], self.runs.unpatched("v", layer), wanted)
            else:
                residual = before
            residual = join(residual, BEFORE_MLP, wanted)
            if block.has_mlp and len(residual.flat):
                read = before if block.parallel else residual
                residual = Ragged(block.mlp(read.flat, added_to=residual.flat), residual.shapes)
            residual = join(residual, AFTER_MLP, wanted)
        return residual


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


class _Budget:
    """How many patched runs fit into memory together."""

    def __init__(
        self,
        model: TransformerBridge,
        corrupted: ActivationCache,
        logits: Float[Tensor, "batch pos d_vocab"],
        wanted: slice,
        max_memory: int,
    ) -> None:
        self.cfg = model.cfg
        self.batch, self.n_positions = logits.shape[:2]
        self.max_memory = max_memory
        self.bytes_of_a_number = logits.element_size()
        # The model's logits, those that the metric gets, and a copy that it may make of them.
        self.taken = RETAINED_MEMORY + sum(activation.nbytes for activation in corrupted.values()) + 3 * logits.nbytes
        self.bytes_of_logits = logits[:, wanted].numel() * logits.element_size()
        # A quarter, for the metric makes tensors of this size too.
        free = max(0, max_memory - self.taken)
        self.logits_at_once = max(1, min(free // 4, BYTES_OF_LOGITS) // self.bytes_of_logits)

    def batches(self, patches: list[Patch]) -> Iterator[list[Patch]]:
        """Yield patches in order of layers, places and starts, as many at once as are fast and as memory allows.

        The first batch begins with a run in which nothing is patched.
        """
        if not patches:
            return
        first_start = min(patch.start for patch in patches)
        self._refuse_too_little(first_start)
        ordered = sorted(patches, key=lambda patch: (patch.layer, patch.place, patch.start))
        together: list[Patch] = []
        positions, taken = 0, self.taken
        for patch in [nothing_patched(first_start), *ordered]:
            bytes_of_run = self._bytes_of_run(patch.start)
            if together and (positions >= ENOUGH_POSITIONS or taken + bytes_of_run > self.max_memory):
                yield together
                together, positions, taken = [], 0, self.taken
            together.append(patch)
            positions += self.batch * (self.n_positions - patch.start)
            taken += bytes_of_run
        yield together

    def _bytes_of_run(self, start: int) -> int:
        """Return the bytes of the tensors of a layer, for one patched run; those of runs that join are copied."""
        cfg = self.cfg
        changed = self.n_positions - start
        d_attention, scores = cfg.n_heads * cfg.d_head, cfg.n_heads * changed * self.n_positions
        in_attention = 3 * d_attention * (changed + self.n_positions) + 2 * scores
        in_mlp = (4 if cfg.gated_mlp else 3) * (cfg.d_mlp or 0) * changed
        return self.batch * self.bytes_of_a_number * (8 * cfg.d_model * changed + max(in_attention, in_mlp))

    def _refuse_too_little(self, start: int) -> None:
        needed = self.taken + max(self._bytes_of_run(start), 4 * self.bytes_of_logits)
        if needed > self.max_memory:
            raise SweepError(
                f"A patched run of these {self.batch} prompts takes about {needed // MIB + 1} MiB besides the model, "
                f"more than max_memory={self.max_memory} ({self.max_memory // MIB} MiB): pass a larger max_memory, or "
                "fewer or shorter prompts."
            )


def _corrupted_run(
    model: TransformerBridge, blocks: list[Block], tokens: Int[Tensor, "batch pos"], components: tuple[str, ...]
) -> tuple[Float[Tensor, "batch pos d_vocab"], ActivationCache]:
    """Return the logits of the corrupted run, and those of its activations that the sweep needs."""
    needed = {"k", "v", *components}
    if set(components) & set(HEAD_COMPONENTS):
        needed |= {"q", "z"}
    if set(components) - {"resid_pre"}:
        needed |= {"resid_mid" if block.has_middle else "resid_post" for block in blocks}
    if "mlp_out" in components:
        needed |= {"resid_post"}
    names = {get_act_name(component, layer) for component in needed for layer in range(model.cfg.n_layers)}
    names.add(get_act_name("resid_pre", 0))
    return model.run_with_cache(tokens, names_filter=lambda name: name in names)


def _empty_map(spec: SweepSpec, model: TransformerBridge, logits: Tensor) -> Float[Tensor, "component layer *cell"]:
    positions = [logits.shape[1]] if spec.by_position else []
    heads = [model.cfg.n_heads] if "head" in spec.axes else []
    return torch.empty(len(spec.components), model.cfg.n_layers, *positions, *heads, device=logits.device)


def _in_the_axes_of(
    spec: SweepSpec, result: Float[Tensor, "component layer *cell"], model: TransformerBridge
) -> Float[Tensor, "..."]:
    """Return the map as transformer_lens does: its axes, and where several query heads share a key and value head.

    There are fewer columns of keys and values then; in a stack of maps, the missing ones are 0.
    """
    kv_heads = n_key_value_heads(model)
    if spec.last_axis == "dest_pos":
        result = result.transpose(-1, -2)  # from the order of the other maps by position
    if not spec.has_component_axis:
        return result[0, ..., :kv_heads] if spec.components[0] in ATTENDED_TO else result[0]
    for component, map_ in zip(spec.components, result, strict=True):
        if component in ATTENDED_TO:
            map_[..., kv_heads:] = 0
    return result


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
