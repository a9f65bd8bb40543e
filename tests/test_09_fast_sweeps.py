"""Notebook 09: the sweep over resid_pre without the work whose result is known."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from tests.checks.cases import VOCABULARY, SweepCase, one_thread, tiny_cases
from tests.checks.checking import CheckFailed, call_with, exercise_check, require_close, require_tensor
from tests.checks.sweeps import check_sweep, compare_with_reference
from tests.exercises import RESID_PRE_FAST
from utils import load_ioi, model_in_use


@exercise_check
def test_run_from_layer(run_from_layer: Callable) -> None:
    """Check that a run can begin at any layer: the logits are those of a whole run, and no earlier block is computed.

    On tiny random models, for every layer. Takes a fraction of a second.
    """
    with one_thread():
        for case in tiny_cases():
            for layer in range(case.model.cfg.n_layers):
                _check_one_start(run_from_layer, case, layer)


@exercise_check
def test_get_act_patch_resid_pre_fast(get_act_patch_resid_pre_fast: Callable) -> None:
    """Check that the sweep equals `transformer_lens.patching.get_act_patch_resid_pre`, then that it skips what it can.

    On tiny random models first, then on the loaded model and the 8 IOI prompts, where the computed blocks are counted.
    A loaded model that computes more than its blocks, ln_final and unembed is left out, and a printed line says so.
    About 2 seconds on ioi-mini and a quarter of a minute on gpt2-small.
    """
    counts: dict[TransformerBridge, int] = {}

    @functools.wraps(get_act_patch_resid_pre_fast)
    def counted(*position: Any, **keyword: Any) -> object:
        model = keyword["model"] if "model" in keyword else position[0]
        with blocks_computed(model) as computed:
            result = get_act_patch_resid_pre_fast(*position, **keyword)
        counts[model] = len(computed)
        return result

    check_sweep(counted, RESID_PRE_FAST)
    if (model := model_in_use()) in counts:
        _check_count(counts[model])
    with one_thread():
        compare_with_reference(counted, RESID_PRE_FAST, _differing_everywhere())


@contextlib.contextmanager
def blocks_computed(model: TransformerBridge) -> Iterator[list[int]]:
    """Give a list that the number of each block is added to whenever it is computed."""
    numbers: list[int] = []
    hooks = [
        block.register_forward_hook(lambda *_, number=number: numbers.append(number))
        for number, block in enumerate(model.blocks)
    ]
    try:
        yield numbers
    finally:
        for hook in hooks:
            hook.remove()


def _differing_everywhere() -> SweepCase:
    """A tiny case whose prompts share no token, unlike the others, which agree at position 0."""
    case = next(tiny_cases())
    _, clean_cache = case.model.run_with_cache((case.corrupted_tokens + 1) % VOCABULARY)
    return dataclasses.replace(case, clean_cache=clean_cache, description="where the prompts differ from position 0 on")


def _check_one_start(run_from_layer: Callable, case: SweepCase, layer: int) -> None:
    model = case.model
    residual = 1.5 * case.clean_cache["resid_pre", layer]  # of no run, so that no cache holds the answer
    expected = model.run_with_hooks(
        case.corrupted_tokens,
        fwd_hooks=[(get_act_name("resid_pre", layer), lambda activation, hook: residual.clone())],
    )
    checked = f"run_from_layer(model, residual, {layer}) on a random model with {model.cfg.n_layers} layers"
    with blocks_computed(model) as computed:
        result = call_with(run_from_layer, "run_from_layer", model=model, residual=residual.clone(), layer=layer)
    actual = require_tensor(
        result,
        tuple(expected.shape),
        expected.dtype,
        f"{checked} returns logits, [batch pos d_vocab]",
        "a block returns a tuple that begins with the residual stream; after the last block come ln_final and unembed",
    )
    if computed != list(range(layer, model.cfg.n_layers)):
        raise CheckFailed(
            f"{checked} computes the blocks from layer {layer} on, each once",
            f"blocks {', '.join(map(str, range(layer, model.cfg.n_layers)))}",
            f"blocks {', '.join(map(str, computed)) or 'none'}",
            "loop over model.blocks[layer:]",
        )
    hint = "the blocks in their order, then the final LayerNorm, then the unembedding"
    require_close(actual, expected, "batch pos d_vocab", f"{checked} gives the logits of the whole run", hint)


def _check_count(computed: int) -> None:
    """Refuse a sweep on the 8 IOI prompts that computed more blocks than both ideas together leave to compute."""
    model = model_in_use()
    data = load_ioi(model)
    n_layers, n_positions = model.cfg.n_layers, data.clean_tokens.shape[1]
    differing = n_positions - int((data.clean_tokens != data.corrupted_tokens).any(dim=0).int().argmax())
    resumed = sum(n_layers - layer for layer in range(n_layers))
    # A few whole runs for the corrupted logits and cache.
    allowed = differing * resumed + 3 * n_layers
    if computed > allowed:
        raise CheckFailed(
            f"{RESID_PRE_FAST.name} leaves out what is known already, on the 8 IOI prompts",
            f"at most {allowed} blocks computed",
            f"{computed} blocks computed",
            _hint_at_waste(computed, n_positions * resumed, differing * n_layers**2, n_layers),
        )


def _hint_at_waste(computed: int, resumed_only: int, skipped_only: int, n_layers: int) -> str:
    if abs(computed - resumed_only) <= 3 * n_layers:
        return "skip the positions at which the clean and the corrupted activation are equal"
    if abs(computed - skipped_only) <= 3 * n_layers:
        return "start each patched run at its own layer, with run_from_layer"
    return "skip positions before the first difference, and start each run at its own layer"
