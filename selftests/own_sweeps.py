"""Sweeps written without `transformer_lens.patching`, right ones and ones with a mistake."""

import pytest
import torch
from transformer_lens.utilities import get_act_name

from tests.checks.checking import CheckFailed
from utils.sweep_specs import SWEEPS

RESID_PRE = "get_act_patch_resid_pre"
HEAD_OUT = "get_act_patch_attn_head_out_all_pos"
BLOCK_EVERY = "get_act_patch_block_every"
HEAD_EVERY = "get_act_patch_attn_head_all_pos_every"


def refusal(check, answer) -> str:
    with pytest.raises(CheckFailed) as caught:
        check(answer)
    return str(caught.value)


def patch_slice(x, clean, component, index, axis):
    x.select(axis, index).copy_(clean.select(axis, index))
    return x


def sweep_with(name, patch=patch_slice, order=None):
    """A sweep written without `transformer_lens.patching`; `patch` and `order` put mistakes into it."""
    spec = SWEEPS[name]
    components = spec.components

    def sweep(model, corrupted_tokens, clean_cache, patching_metric):
        indices = corrupted_tokens.shape[1] if spec.by_position else model.cfg.n_heads
        results = torch.zeros(len(components), model.cfg.n_layers, indices)
        for number, component in enumerate(order or components):
            axis = 1 if spec.by_position or component == "pattern" else 2
            for layer in range(model.cfg.n_layers):
                for index in range(indices):

                    def hook_function(x, hook, component=component, index=index, axis=axis):
                        return patch(x, clean_cache[hook.name], component, index, axis)

                    hooks = [(get_act_name(component, layer), hook_function)]
                    results[number, layer, index] = patching_metric(
                        model.run_with_hooks(corrupted_tokens, fwd_hooks=hooks)
                    )
        return results if len(components) > 1 else results[0]

    return sweep


def from_index_on(x, clean, component, index, axis):
    x.narrow(axis, index, x.shape[axis] - index).copy_(clean.narrow(axis, index, x.shape[axis] - index))
    return x


def one_to_the_left(x, clean, component, index, axis):
    return patch_slice(x, clean, component, max(index - 1, 0), axis)


def neighbour(x, clean, component, index, axis):
    return patch_slice(x, clean, component, (index + 1) % x.shape[axis], axis)


def nothing(x, clean, component, index, axis):
    return x


def noise(x, clean, component, index, axis):
    return patch_slice(1.01 * x, clean, component, index, axis)


def half(x, clean, component, index, axis):
    return patch_slice(x, (x + clean) / 2, component, index, axis)


def the_last_too(x, clean, component, index, axis):
    x[:, -1] = clean[:, -1]
    return patch_slice(x, clean, component, index, axis)
