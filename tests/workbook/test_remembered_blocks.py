"""Blocks that remember: the same numbers as ever, bit by bit, whatever is done to the model, in fewer computations."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close
from transformer_lens import patching

from tests.conduct import NotFollowed, calls_followed
from tests.tiny import TinyCase, tiny_cases
from tests.workbook.test_sweeps import keep_model_in_use, make_case, slow, tiny_gpt2  # noqa: F401  two are fixtures
from utils.remembered_blocks import blocks_remembered

SWEEPS = [
    "get_act_patch_resid_pre",
    "get_act_patch_block_every",
    "get_act_patch_attn_head_out_all_pos",
    "get_act_patch_attn_head_all_pos_every",
    "get_act_patch_attn_head_by_pos_every",
]


@pytest.fixture(scope="module")
def gpt2_case(tiny_gpt2) -> TinyCase:  # noqa: F811
    """A model of the library, as gpt2-small is, on prompts that differ at one position."""
    return make_case(tiny_gpt2)


@pytest.fixture(params=["gpt2", "native"])
def case(request, gpt2_case, monkeypatch) -> TinyCase:
    if request.param == "native":
        return next(tiny_cases())
    # Where the library keeps keys and values, they lie elsewhere in memory, and the last bit of a sum may be another.
    monkeypatch.setattr(gpt2_case.model.original_model.config, "use_cache", False)
    return gpt2_case


@pytest.fixture
def computed(case, monkeypatch) -> list[int]:
    """The layers of which the MLP is computed, one after another."""
    layers = []
    for layer, block in enumerate(case.model.blocks):

        def counting(*args, layer=layer, forward=block.mlp.forward, **kwargs):
            layers.append(layer)
            return forward(*args, **kwargs)

        monkeypatch.setitem(vars(block.mlp), "forward", counting)
    return layers


def run(case: TinyCase, name: str | None = None, hook: Callable | None = None) -> torch.Tensor:
    """The logits of the corrupted prompts, with one hook at most."""
    return case.model.run_with_hooks(case.corrupted_tokens, fwd_hooks=[(name, hook)] if name else [])


def zeros(activation, hook):
    return torch.zeros_like(activation)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_gives_the_same_bits(name, case):
    expected = slow(name, case)
    with blocks_remembered(case.model):
        assert torch.equal(slow(name, case), expected)
    assert torch.equal(slow(name, case), expected)


def test_the_library_keeps_no_keys_and_values_meanwhile(gpt2_case):
    config = gpt2_case.model.original_model.config
    expected = slow(SWEEPS[1], gpt2_case)
    with blocks_remembered(gpt2_case.model):
        assert config.use_cache is False
        assert_close(slow(SWEEPS[1], gpt2_case), expected)
    assert config.use_cache is True


def test_only_what_changes_is_computed(case, computed):
    last = case.model.cfg.n_layers - 1
    with blocks_remembered(case.model):
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


def test_nothing_is_left_on_the_model(case, computed):
    before = [(module, module.forward, dict(vars(module))) for module in case.model.modules()]
    with blocks_remembered(case.model):
        run(case)
    assert all(module.forward == forward and vars(module).keys() == own.keys() for module, forward, own in before)
    computed.clear()
    run(case)
    run(case)
    assert len(computed) == 2 * case.model.cfg.n_layers


@pytest.mark.parametrize("name", ["hook_resid_pre", "hook_resid_mid", "hook_resid_post", "attn.hook_z", "hook_mlp_out"])
def test_writing_into_what_a_hook_is_given_changes_that_run_only(case, name):
    kept = []

    def write(activation, hook):
        kept.append(activation)
        activation[:, -1] = 0
        return activation

    hook_name = f"blocks.1.{name}"
    expected = run(case), run(case, hook_name, write)
    with blocks_remembered(case.model):
        for _ in range(2):
            assert torch.equal(run(case), expected[0])
            assert torch.equal(run(case, hook_name, write), expected[1])
        for activation in kept:
            activation.fill_(7)  # long after the run
        run(case).fill_(7)
        assert torch.equal(run(case), expected[0])


def test_writing_into_what_a_block_was_given_does_not_change_what_is_remembered(case):
    kept = []

    def patch(activation, hook):
        kept.extend([activation.clone(), activation.zero_()])

    expected = run(case)
    with blocks_remembered(case.model):
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
def test_what_is_changed_in_a_block_has_its_effect(change):
    case = next(tiny_cases())
    unchanged = run(case)
    with blocks_remembered(case.model):
        run(case)
        change(case)
        changed = run(case), run(case)
    assert torch.equal(changed[0], changed[1])
    assert not torch.equal(changed[0], unchanged)
    assert torch.equal(changed[0], run(case))


def test_dropout_is_drawn_every_time():
    case = next(tiny_cases())
    run(case)
    dropout = torch.nn.Dropout(0.5)
    case.model.blocks[1].mlp.original_component.add_module("dropout", dropout)
    case.model.blocks[1].mlp.original_component.register_forward_hook(lambda module, args, output: dropout(output))
    with blocks_remembered(case.model):  # a new module is in training mode
        assert not torch.equal(run(case), run(case))
    case.model.eval()
    with blocks_remembered(case.model):
        assert torch.equal(run(case), run(case))
        for module in (case.model, dropout):
            module.train()
            assert not torch.equal(run(case), run(case))
            case.model.eval()
        assert torch.equal(run(case), run(case))


def test_a_run_can_stop_and_begin_at_a_layer(case):
    resid = case.model.run_with_hooks(case.corrupted_tokens, stop_at_layer=1)
    from_layer = [case.model(factor * resid, start_at_layer=1) for factor in (1, 2)]
    with blocks_remembered(case.model):
        for _ in range(2):
            run(case)
            assert torch.equal(case.model.run_with_hooks(case.corrupted_tokens, stop_at_layer=1), resid)
            for factor in (1, 2):
                assert torch.equal(case.model(factor * resid, start_at_layer=1), from_layer[factor - 1])


def test_a_gradient_finds_its_way_through(case):
    def gradient() -> torch.Tensor:
        added = torch.zeros((), requires_grad=True)
        run(case, "blocks.0.hook_resid_pre", lambda activation, hook: activation + added).sum().backward()
        return added.grad

    expected = gradient()
    with blocks_remembered(case.model):
        run(case)
        assert torch.equal(gradient(), expected)
        assert torch.equal(gradient(), expected)
        assert not run(case).requires_grad


def test_keys_and_values_can_be_kept_for_generating(gpt2_case):
    tokens = gpt2_case.corrupted_tokens
    expected, _ = gpt2_case.model(tokens, return_type="logits_and_cache", use_cache=True)
    with blocks_remembered(gpt2_case.model):
        for _ in range(2):
            logits, cache = gpt2_case.model(tokens, return_type="logits_and_cache", use_cache=True)
            assert torch.equal(logits, expected)
            assert cache.get_seq_length() == tokens.shape[1]


def test_sweeps_in_threads_do_not_disturb_each_other(case):
    names, results = SWEEPS[:3], {}
    expected = {name: slow(name, case) for name in names}

    def work(name: str) -> None:
        results[name] = slow(name, case)

    with blocks_remembered(case.model):
        for name in names:  # one at a time on the model, as hooks ask for, and each in a thread of its own
            thread = threading.Thread(target=work, args=[name])
            thread.start()
            thread.join()
    assert all(torch.equal(results[name], expected[name]) for name in names)


def test_calls_in_blocks_with_hooks_are_followed(case):
    def borrow(activation, hook):
        patching.layer_pos_patch_setter(activation.clone(), [0, 0], activation)

    with calls_followed() as calls, blocks_remembered(case.model, computing=NotFollowed):
        run(case)
        assert calls.borrowed_from == set()
        run(case, "blocks.1.attn.hook_z", borrow)
    assert calls.borrowed_from == {"transformer_lens.patching"}
    assert calls.followed
