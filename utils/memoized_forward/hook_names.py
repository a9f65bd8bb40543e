"""The names of a model's hook points, looked up once: transformer_lens does it twice in every run with hooks."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge, bridge_core


@contextlib.contextmanager
def hook_names_remembered(model: TransformerBridge) -> Iterator[None]:
    """Have `model.hook_dict`, and the names that stand for others in it, made once, until the context ends.

    A hook point that is added meanwhile is found: then both are made anew.
    """
    bridge_class, make_hook_dict = type(model), type(model).hook_dict.fget
    make_aliases = bridge_core.build_alias_to_canonical_map
    registry: dict[str, HookPoint] = {}
    hook_points: dict[str, HookPoint] = {}
    aliases: dict[str, str] = {}

    def hook_dict(bridge: TransformerBridge) -> dict[str, HookPoint]:
        nonlocal registry, hook_points, aliases
        if bridge is not model:
            return make_hook_dict(bridge)
        if registry != model._hook_registry or not hook_points:
            registry, hook_points = dict(model._hook_registry), make_hook_dict(model)
            aliases = make_aliases(hook_points)
        return dict(hook_points)

    def build_alias_to_canonical_map(given: dict, prefix: str = "") -> dict[str, str]:
        return dict(aliases) if given == hook_points and not prefix else make_aliases(given, prefix)

    with (
        mock.patch.object(bridge_class, "hook_dict", property(hook_dict)),
        mock.patch.object(bridge_core, "build_alias_to_canonical_map", build_alias_to_canonical_map),
    ):
        yield
