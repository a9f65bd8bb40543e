"""The names of a model's hook points, which transformer_lens looks up twice in every run with hooks."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge, bridge_core


@contextlib.contextmanager
def cached_hook_names(model: TransformerBridge) -> Iterator[None]:
    """Cache `model.hook_dict` and the aliases in it until the context ends; a new hook point renews both."""
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

    def build_alias_to_canonical_map(points: dict, prefix: str = "") -> dict[str, str]:
        return dict(aliases) if points == hook_points and not prefix else make_aliases(points, prefix)

    with (
        mock.patch.object(bridge_class, "hook_dict", property(hook_dict)),
        mock.patch.object(bridge_core, "build_alias_to_canonical_map", build_alias_to_canonical_map),
    ):
        yield
