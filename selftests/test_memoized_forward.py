"""Memoized forward passes: the same numbers, bit for bit, whatever is done to the model, in fewer computations."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from selftests.random_gpt2 import make_case, slow
from tests.checks.cases import SweepCase, tiny_cases
from utils.memoized_forward import SuffixCache, memoized_forward

SWEEPS = [
    "get_act_patch_resid_pre",
    "get_act_patch_block_every",
    "get_act_patch_attn_head_out_all_pos",
    "get_act_patch_attn_head_all_pos_every",
    "get_act_patch_attn_head_by_pos_every",
]


@pytest.fixture(scope="module")
def gpt2_case(tiny_gpt2) -> SweepCase:
    """A model of the library, as gpt2-small is, on prompts that differ at one position."""
    return make_case(tiny_gpt2)


@pytest.fixture(params=["gpt2", "native"])
def case(request, gpt2_case, monkeypatch) -> SweepCase:
    if request.param == "native":
        return next(tiny_cases())
    # Where the library keeps keys and values, they lie elsewhere in memory, and the last bit of a sum may be another.
    monkeypatch.setattr(gpt2_case.model.original_model.config, "use_cache", False)
    return gpt2_case


@pytest.fixture
def computed(case, monkeypatch) -> list[int]:
    """The layers whose MLP is computed, in order."""
    layers = []
    for layer, block in enumerate(case.model.blocks):

        def counting(*args, layer=layer, forward=block.mlp.forward, **kwargs):
            layers.append(layer)
            return forward(*args, **kwargs)

        monkeypatch.setitem(vars(block.mlp), "forward", counting)
    return layers


def run(case: SweepCase, name: str | None = None, hook: Callable | None = None) -> torch.Tensor:
    """The logits of the corrupted prompts, with one hook at most."""
    return case.model.run_with_hooks(case.corrupted_tokens, fwd_hooks=[(name, hook)] if name else [])


def zeros(activation, hook):
    return torch.zeros_like(activation)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_memoized_sweep_equals_the_plain_one_bit_for_bit(name, case):
    expected = slow(name, case)
    with memoized_forward(case.model):
        assert torch.equal(slow(name, case), expected)
    assert torch.equal(slow(name, case), expected)


def test_the_library_caches_no_keys_and_values_while_memoizing(gpt2_case):
    config = gpt2_case.model.original_model.config
    expected = slow(SWEEPS[1], gpt2_case)
    with memoized_forward(gpt2_case.model):
        assert config.use_cache is False
        assert_close(slow(SWEEPS[1], gpt2_case), expected)
    assert config.use_cache is True


def test_only_blocks_with_new_inputs_are_computed(case, computed):
    last = case.model.cfg.n_layers - 1
    with memoized_forward(case.model):
        run(case)
        run(case)
        assert computed == list(range(last + 1))
        computed.clear()
        run(case, f"blocks.{last}.hook_resid_pre", zeros)
        assert computed == [last]
        computed.clear()
        # A patch that changes nothing.
        run(case)
        computed.clear()
        run(case, "blocks.0.hook_resid_pre", lambda activation, hook: activation.clone())
        assert computed == []


def test_the_model_is_as_before_afterwards(case, computed):
    before = [(module, module.forward, dict(vars(module))) for module in case.model.modules()]
    with memoized_forward(case.model):
        run(case)
    assert all(module.forward == forward and vars(module).keys() == own.keys() for module, forward, own in before)
    computed.clear()
    run(case)
    run(case)
    assert len(computed) == 2 * case.model.cfg.n_layers


@pytest.mark.parametrize("name", ["hook_resid_pre", "hook_resid_mid", "hook_resid_post", "attn.hook_z", "hook_mlp_out"])
def test_mutating_an_activation_in_a_hook_affects_one_run_only(case, name):
    kept = []

    def write(activation, hook):
        kept.append(activation)
        activation[:, -1] = 0
        return activation

    hook_name = f"blocks.1.{name}"
    expected = run(case), run(case, hook_name, write)
    with memoized_forward(case.model):
        for _ in range(2):
            assert torch.equal(run(case), expected[0])
            assert torch.equal(run(case, hook_name, write), expected[1])
        for activation in kept:
            activation.fill_(7)  # long after the run
        run(case).fill_(7)
        assert torch.equal(run(case), expected[0])


def test_mutating_the_input_of_a_block_leaves_the_cached_input_alone(case):
    kept = []

    def patch(activation, hook):
        kept.extend([activation.clone(), activation.zero_()])

    expected = run(case)
    with memoized_forward(case.model):
        run(case, "blocks.1.hook_resid_pre", patch)
        unpatched, patched = kept
        patched.copy_(unpatched)
        assert torch.equal(run(case), expected)


def a_hook_of_torch(case):
    case.model.blocks[1].mlp.original_component.register_forward_hook(lambda module, args, output: output * 0)


def a_hook_before(case):
    case.model.blocks[1].mlp.register_forward_pre_hook(lambda module, args: tuple(0 * each for each in args))


def a_permanent_hook(case):
    case.model.add_perma_hook("blocks.1.hook_mlp_out", zeros)


def another_forward(case):
    case.model.blocks[1].mlp.original_component.forward = torch.zeros_like


def another_part(case):
    case.model.blocks[1].original_component.mlp = torch.nn.Identity()


def another_weight(case):
    for weight in case.model.blocks[1].mlp.parameters():
        with torch.no_grad():
            weight.mul_(0)


CHANGES = [a_hook_of_torch, a_hook_before, a_permanent_hook, another_forward, another_part, another_weight]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_block_takes_effect(change):
    case = next(tiny_cases())
    unchanged = run(case)
    with memoized_forward(case.model):
        run(case)
        change(case)
        changed = run(case), run(case)
    assert torch.equal(changed[0], changed[1])
    assert not torch.equal(changed[0], unchanged)
    assert torch.equal(changed[0], run(case))


def test_dropout_is_sampled_in_every_run():
    case = next(tiny_cases())
    run(case)
    dropout = torch.nn.Dropout(0.5)
    case.model.blocks[1].mlp.original_component.add_module("dropout", dropout)
    case.model.blocks[1].mlp.original_component.register_forward_hook(lambda module, args, output: dropout(output))
    with memoized_forward(case.model):  # a new module is in training mode
        assert not torch.equal(run(case), run(case))
    case.model.eval()
    with memoized_forward(case.model):
        assert torch.equal(run(case), run(case))
        for module in (case.model, dropout):
            module.train()
            assert not torch.equal(run(case), run(case))
            case.model.eval()
        assert torch.equal(run(case), run(case))


def test_a_run_can_stop_and_begin_at_a_layer(case):
    resid = case.model.run_with_hooks(case.corrupted_tokens, stop_at_layer=1)
    from_layer = [case.model(factor * resid, start_at_layer=1) for factor in (1, 2)]
    with memoized_forward(case.model):
        for _ in range(2):
            run(case)
            assert torch.equal(case.model.run_with_hooks(case.corrupted_tokens, stop_at_layer=1), resid)
            for factor in (1, 2):
                assert torch.equal(case.model(factor * resid, start_at_layer=1), from_layer[factor - 1])


def test_a_deleted_setting_of_a_block_is_no_error(case):
    expected = run(case)
    settings = vars(case.model.blocks[1])
    settings["a_setting"] = 1
    with memoized_forward(case.model):
        run(case)
        del settings["a_setting"]
        assert torch.equal(run(case), expected)


def test_gradients_flow_through_memoized_blocks(case):
    def gradient() -> torch.Tensor:
        added = torch.zeros((), requires_grad=True)
        run(case, "blocks.0.hook_resid_pre", lambda activation, hook: activation + added).sum().backward()
        return added.grad

    expected = gradient()
    with memoized_forward(case.model):
        run(case)
        assert torch.equal(gradient(), expected)
        assert torch.equal(gradient(), expected)
        assert not run(case).requires_grad


def test_keys_and_values_are_cached_on_request(gpt2_case):
    tokens = gpt2_case.corrupted_tokens
    expected, _ = gpt2_case.model(tokens, return_type="logits_and_cache", use_cache=True)
    with memoized_forward(gpt2_case.model):
        for _ in range(2):
            logits, cache = gpt2_case.model(tokens, return_type="logits_and_cache", use_cache=True)
            assert torch.equal(logits, expected)
            assert cache.get_seq_length() == tokens.shape[1]


def test_sweeps_in_several_threads_are_independent(case):
    names, results = SWEEPS[:3], {}
    expected = {name: slow(name, case) for name in names}

    def work(name: str) -> None:
        results[name] = slow(name, case)

    with memoized_forward(case.model):
        for name in names:  # one at a time on the model, as hooks ask for, and each in a thread of its own
            thread = threading.Thread(target=work, args=[name])
            thread.start()
            thread.join()
    assert all(torch.equal(results[name], expected[name]) for name in names)


# Cached suffixes.


@pytest.fixture
def suffixes(case) -> SuffixCache:
    """The suffixes of the runs of all sweeps but the last."""
    suffixes = SuffixCache()
    for name in SWEEPS[:-1]:
        with memoized_forward(case.model, suffix_cache=suffixes):
            slow(name, case)
    return suffixes


def patch_one_position(case) -> Callable:
    """A hook that does what one of the runs of a sweep over positions does."""
    clean = case.clean_cache["resid_pre", 0]
    _, corrupted_cache = case.model.run_with_cache(case.corrupted_tokens)
    position = int((clean != corrupted_cache["resid_pre", 0]).any(dim=2).any(dim=0).int().argmax())

    def patch(activation, hook):
        activation[:, position] = case.clean_cache[hook.name][:, position]
        return activation

    return patch


def once(function: Callable) -> Callable:
    """A hook that does nothing in the runs that it makes itself."""
    is_running = False

    def hook_once(activation, hook):
        nonlocal is_running
        if is_running:
            return None
        is_running = True
        try:
            return function(activation, hook)
        finally:
            is_running = False

    return hook_once


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_with_cached_suffixes_equals_the_plain_one_bit_for_bit(name, case, suffixes):
    expected = slow(name, case)
    with memoized_forward(case.model, suffix_cache=suffixes):
        assert torch.equal(slow(name, case), expected)


def test_only_the_block_with_the_hook_is_computed(case, suffixes, computed):
    patch = patch_one_position(case)

    with memoized_forward(case.model, suffix_cache=suffixes):
        run(case)
        computed.clear()
        for layer in range(case.model.cfg.n_layers):
            run(case, f"blocks.{layer}.hook_resid_pre", patch)
        assert computed == list(range(case.model.cfg.n_layers))


NEAR_THE_END = ["hook_resid_pre", "hook_resid_post", "hook_mlp_out", "attn.hook_z", "ln2.hook_scale"]


@pytest.mark.parametrize(
    "name", [*(f"blocks.LAST.{name}" for name in NEAR_THE_END), "ln_final.hook_scale", "hook_embed"]
)
def test_a_second_hook_takes_effect(name, case, suffixes):
    seen = []

    patch = patch_one_position(case)

    def double(activation, hook):
        seen.append(activation.clone())
        return 2 * activation

    def both():
        seen.clear()
        hooks = [("blocks.0.hook_resid_pre", patch), (name.replace("LAST", str(case.model.cfg.n_layers - 1)), double)]
        return case.model.run_with_hooks(case.corrupted_tokens, fwd_hooks=hooks), *seen

    expected = both()
    with memoized_forward(case.model, suffix_cache=suffixes):
        run(case)
        for _ in range(2):
            assert all(map(torch.equal, both(), expected))


def test_run_with_cache_has_every_activation(case, suffixes):
    _, expected = case.model.run_with_cache(case.corrupted_tokens)
    with memoized_forward(case.model, suffix_cache=suffixes):
        run(case)
        _, cache = case.model.run_with_cache(case.corrupted_tokens)
    assert all(torch.equal(cache[key], expected[key]) for key in expected)


def test_a_block_called_directly_is_computed(case, suffixes):
    """Before a run, after it, and from a hook within one: though its input is that of a run."""
    blocks = range(1, case.model.cfg.n_layers)
    patch = patch_one_position(case)

    logits = run(case, "blocks.0.hook_resid_pre", patch)
    resid = case.model.run_with_hooks(
        case.corrupted_tokens, fwd_hooks=[("blocks.0.hook_resid_pre", patch)], stop_at_layer=1
    )

    def one_by_one() -> list[torch.Tensor]:
        results, residual = [], resid.clone()
        for layer in blocks:
            output = case.model.blocks[layer](residual)
            residual = output[0] if isinstance(output, tuple) else output
            results.append(residual.clone())
        return results

    expected = one_by_one()
    found = []

    @once
    def call_from_a_hook(activation, hook):
        found.extend(one_by_one())

    with memoized_forward(case.model, suffix_cache=suffixes):
        run(case)
        for _ in range(2):
            assert all(map(torch.equal, one_by_one(), expected))
            assert torch.equal(run(case, "blocks.0.hook_resid_pre", patch), logits)
            run(case, "blocks.0.hook_resid_pre", call_from_a_hook)
            run(case, "hook_embed", call_from_a_hook)
            run(case, f"blocks.{blocks[-1]}.hook_resid_post", call_from_a_hook)
    assert len(found) == 6 * len(expected)
    for index in range(0, len(found), len(expected)):
        assert all(map(torch.equal, found[index:], expected))


def test_a_run_inside_a_hook_leaves_the_outer_run_alone(case, suffixes):
    inner = []

    patch = patch_one_position(case)

    @once
    def run_again(activation, hook):
        inner.append(case.model(case.corrupted_tokens.flip(0)))
        return patch(activation, hook)

    name = f"blocks.{case.model.cfg.n_layers - 1}.hook_resid_pre"
    expected = run(case, name, run_again)
    with memoized_forward(case.model, suffix_cache=suffixes):
        run(case)
        assert torch.equal(run(case, name, run_again), expected)
    assert torch.equal(*inner)


def test_mutating_a_cached_residual_affects_one_run_only(case, suffixes):
    patch = patch_one_position(case)

    def write(activation, hook):
        activation.zero_()

    def run_and_write(wrote):
        hooks = [("blocks.0.hook_resid_pre", patch), *([("ln_final.hook_in", write)] if wrote else [])]
        return case.model.run_with_hooks(case.corrupted_tokens, fwd_hooks=hooks)

    expected = run_and_write(True), run_and_write(False)
    with memoized_forward(case.model, suffix_cache=suffixes):
        run(case)
        for _ in range(2):
            assert torch.equal(run_and_write(True), expected[0])
            assert torch.equal(run_and_write(False), expected[1])


def test_a_global_hook_takes_effect(case, suffixes):
    def double_mlp(module, args, output):
        return output * 2 if module is case.model.blocks[1].mlp else None

    with memoized_forward(case.model, suffix_cache=suffixes):
        unchanged = run(case)
        with torch.nn.modules.module.register_module_forward_hook(double_mlp):
            changed = run(case), run(case)
        assert torch.equal(*changed)
        assert not torch.equal(changed[0], unchanged)
        assert torch.equal(run(case), unchanged)
