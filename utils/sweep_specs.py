"""The sweeps of `transformer_lens.patching`, one row of a table each.

Checks, references, fast sweeps, the published maps, the benchmark and the banks of answers read this table.
"""

from dataclasses import dataclass

BLOCK_COMPONENTS = ("resid_pre", "attn_out", "mlp_out")
HEAD_COMPONENTS = ("z", "q", "k", "v", "pattern")
"""The first axis of transformer_lens's `..._every` sweeps, in order."""
ATTENDED_TO = ("k", "v")
"""What later positions read, while all other activations act on their own position; query heads may share it."""


@dataclass(frozen=True)
class SweepSpec:
    """One sweep: what it patches, the axes of its result, and its names."""

    name: str
    """The name of the function, in `transformer_lens.patching`, `utils.sweeps` and a learner's notebook."""
    components: tuple[str, ...]
    """The activations that are patched, one at a time."""
    axes: str
    """The axes of the result, such as `"component layer pos"`."""
    published_name: str = ""
    """The name of the published map for gpt2-small; empty where none was published."""

    @property
    def last_axis(self) -> str:
        """What the columns of a map stand for: `"pos"` or `"head"`."""
        return self.axes.split()[-1]

    @property
    def has_component_axis(self) -> bool:
        """Whether the result is a stack of maps, one for each component."""
        return self.axes.startswith("component ")

    @property
    def by_position(self) -> bool:
        """Whether each run patches a single position."""
        return "pos" in self.axes

    @property
    def parts(self) -> "list[SweepSpec]":
        """The sweeps over one component of which this one is a stack, or the sweep itself.

        The maps by head and position are not stacked: transformer_lens has that of the pattern in another axis order.
        """
        if not self.has_component_axis or "pos head" in self.axes:
            return [self]
        axes = self.axes.removeprefix("component ")
        same = {spec.components: spec for spec in SWEEPS.values() if spec.axes == axes}
        return [same[(component,)] for component in self.components]


SWEEPS: dict[str, SweepSpec] = {
    spec.name: spec
    for spec in (
        SweepSpec("get_act_patch_resid_pre", ("resid_pre",), "layer pos", "resid_pre"),
        SweepSpec("get_act_patch_resid_mid", ("resid_mid",), "layer pos"),
        SweepSpec("get_act_patch_attn_out", ("attn_out",), "layer pos"),
        SweepSpec("get_act_patch_mlp_out", ("mlp_out",), "layer pos"),
        SweepSpec("get_act_patch_block_every", BLOCK_COMPONENTS, "component layer pos", "block_every"),
        SweepSpec("get_act_patch_attn_head_out_all_pos", ("z",), "layer head", "head_out_all_pos"),
        SweepSpec("get_act_patch_attn_head_q_all_pos", ("q",), "layer head"),
        SweepSpec("get_act_patch_attn_head_k_all_pos", ("k",), "layer head"),
        SweepSpec("get_act_patch_attn_head_v_all_pos", ("v",), "layer head"),
        SweepSpec("get_act_patch_attn_head_pattern_all_pos", ("pattern",), "layer head"),
        SweepSpec(
            "get_act_patch_attn_head_all_pos_every", HEAD_COMPONENTS, "component layer head", "head_all_pos_every"
        ),
        SweepSpec("get_act_patch_attn_head_out_by_pos", ("z",), "layer pos head"),
        SweepSpec("get_act_patch_attn_head_q_by_pos", ("q",), "layer pos head"),
        SweepSpec("get_act_patch_attn_head_k_by_pos", ("k",), "layer pos head"),
        SweepSpec("get_act_patch_attn_head_v_by_pos", ("v",), "layer pos head"),
        # The axes are in another order than those of the other maps by position, as in transformer_lens.
        SweepSpec("get_act_patch_attn_head_pattern_by_pos", ("pattern",), "layer head dest_pos"),
        SweepSpec(
            "get_act_patch_attn_head_by_pos_every", HEAD_COMPONENTS, "component layer pos head", "head_by_pos_every"
        ),
    )
}
PUBLISHED_SWEEPS: dict[str, SweepSpec] = {spec.published_name: spec for spec in SWEEPS.values() if spec.published_name}
