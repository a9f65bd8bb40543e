"""The layers of a model as functions of the residual stream, with the model's own modules and weights.

Each part is called on just the positions and rows that are needed. One class serves all models whose layers consist of
a norm before attention, attention with or without rotary positions, and a plain or gated MLP with its norm, one after
the other or in parallel: GPT-2, GPT-NeoX and Pythia, Llama, SmolLM, Mistral, Qwen, OPT, and the bridge's native models.
What a model computes beyond that shows when the runs are compared with the model's own logits (`patched_runs.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components import AttentionBridge, ParallelBlockBridge
from transformers.pytorch_utils import Conv1D

from utils.errors import WorkbookError
from utils.models import n_key_value_heads
from utils.sweeps.arithmetic import ACTIVATIONS, NO_ACTIVATION, Activation, Rotation, attend_after, linear, linear_and

DTYPES = (torch.float32, torch.bfloat16)


class SweepError(WorkbookError):
    """The fast sweeps cannot compute what was asked for."""


class Linear:
    """A projection, with the model's own weight and not a copy of it."""

    def __init__(self, part: Any) -> None:
        module = part.original_component
        self.W = module.weight.T if isinstance(module, Conv1D) else module.weight
        self.b = module.bias

    def __call__(
        self, x: Float[Tensor, "*rows in"], activation: Activation = NO_ACTIVATION
    ) -> Float[Tensor, "*rows out"]:
        return linear(x, self.W, self.b, activation)

    def added_to(self, other: Float[Tensor, "*rows out"], x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        """Return the projection of `x`, plus another tensor."""
        return linear_and(x, self.W, self.b, "add", other)

    def times(self, other: Float[Tensor, "*rows out"], x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        """Return the projection of `x`, times another tensor."""
        return linear_and(x, self.W, self.b, "mul", other)


@dataclass(frozen=True)
class Ragged:
    """Activations of groups of runs that start at different positions, in one tensor.

    What does not depend on the position, such as a projection, is computed for all of them at once.
    """

    flat: Float[Tensor, "place *rest"]
    shapes: tuple[tuple[int, int], ...]
    """The numbers of rows and of positions of each group."""

    @classmethod
    def of(cls, groups: list[Float[Tensor, "_ _ *rest"]]) -> "Ragged":
        """Concatenate groups of activations, each [row pos ...]."""
        flat = [group.flatten(0, 1) for group in groups]
        shapes = tuple((len(group), group.shape[1]) for group in groups)
        return cls(flat[0] if len(flat) == 1 else torch.cat(flat), shapes)

    def groups(self, flat: Float[Tensor, "place *rest"] | None = None) -> list[Float[Tensor, "_ _ *rest"]]:
        """Split into groups, each [row pos ...]; another tensor than this one if it is given."""
        flat = self.flat if flat is None else flat
        parts = flat.split([rows * positions for rows, positions in self.shapes])
        return [part.unflatten(0, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def at(self, wanted: slice) -> "Ragged":
        """Return the activations at some positions of each group."""
        return self if wanted == slice(None) else Ragged.of([group[:, wanted] for group in self.groups()])


class Block:
    """One layer. Its parts are the model's."""

    def __init__(self, model: TransformerBridge, layer: int, rotation: Rotation | None) -> None:
        block, cfg = model.blocks[layer], model.cfg
        attn: Any = block.attn
        self.rotation = rotation
        self.d_head = cfg.d_head
        self.ln1 = block.ln1.original_component
        self.project_q, self.project_k, self.project_v, self.project_z = (
            Linear(part) for part in (attn.q, attn.k, attn.v, attn.o)
        )
        self.q_norm, self.k_norm = (_part(attn, name) for name in ("q_norm", "k_norm"))
        self.scale = _scale(attn.original_component, cfg.d_head)
        self.W_O = self.project_z.W.T.unflatten(0, (cfg.n_heads, -1))
        mlp: Any = None if cfg.attn_only else block.mlp
        if mlp is not None:
            self.ln2 = _part(block, "ln2") or self.ln1
            self.activation = ACTIVATIONS[cfg.act_fn]
            self.project_in, self.project_out = Linear(getattr(mlp, "in")), Linear(mlp.out)
            self.project_gate = Linear(mlp.gate) if _part(mlp, "gate") else None
        self.parallel = isinstance(block, ParallelBlockBridge)
        """Whether attention and MLP both read resid_pre, and nothing reads the residual stream in between."""
        self.has_mlp = mlp is not None
        heads = [len(project.W) / cfg.d_head for project in (self.project_q, self.project_k, self.project_v)]
        kv_heads = n_key_value_heads(model)
        if heads != [cfg.n_heads, kv_heads, kv_heads] or not attn.is_causal:
            raise refusal("its attention is of another kind")
        self.discards_patterns = type(attn).forward is AttentionBridge.forward and not hasattr(
            attn.original_component, "accepts_pattern_fn"
        )
        """Whether the bridge ignores what a hook does to the pattern, as it warns where it only wraps attention."""

    @property
    def has_middle(self) -> bool:
        """Whether there is a residual stream between attention and MLP: resid_mid."""
        return self.has_mlp and not self.parallel

    def place(
        self, x: Float[Tensor, "row pos head d_head"], norm: Callable | None, positions: slice
    ) -> Float[Tensor, "row pos head d_head"]:
        """Turn hook_q or hook_k, at these positions, into what attention multiplies; may change `x`.

        `norm` is `q_norm` or `k_norm`, which only some models have.
        """
        x = x if norm is None else norm(x)
        return x if self.rotation is None else self.rotation[positions].turn_(x)

    def attention(
        self,
        residual: Ragged,
        corrupted_keys: Float[Tensor, "batch pos kv_head d_head"],
        corrupted_values: Float[Tensor, "batch pos kv_head d_head"],
        wanted: slice,
    ) -> Ragged:
        """Add the attention layer's output to the residual stream, at the `wanted` positions only.

        Keys and values are needed at every position, for the wanted ones attend to them; queries are not. Before the
        start of a run they are those of the corrupted run.
        """
        x = self.ln1(residual.flat)
        keys, values = (residual.groups(self._heads(project(x))) for project in (self.project_k, self.project_v))
        at_wanted = residual.at(wanted)
        x_wanted = Ragged(x, residual.shapes).at(wanted).flat
        queries = at_wanted.groups(self._heads(self.project_q(x_wanted)))
        z = []
        for q, k, v in zip(queries, keys, values, strict=True):
            n_positions = corrupted_keys.shape[1]
            start = n_positions - k.shape[1]
            q = self.place(q, self.q_norm, slice(n_positions - q.shape[1], None))
            k = self.place(k, self.k_norm, slice(start, None))
            z.append(attend_after(corrupted_keys[:, :start], corrupted_values[:, :start], q, k, v, self.scale))
        return Ragged(self.project_z.added_to(at_wanted.flat, Ragged.of(z).flat.flatten(1)), at_wanted.shapes)

    def mlp(
        self, read: Float[Tensor, "place d_model"], added_to: Float[Tensor, "place d_model"]
    ) -> Float[Tensor, "place d_model"]:
        """Add the output of the MLP, which reads one residual stream, to another or the same one."""
        x = self.ln2(read)
        if self.project_gate is None:
            hidden = self.project_in(x, self.activation)
        else:
            hidden = self.project_in.times(self.project_gate(x, self.activation), x)
        return self.project_out.added_to(added_to, hidden)

    def _heads(self, x: Float[Tensor, "place d_attention"]) -> Float[Tensor, "place head d_head"]:
        return x.unflatten(-1, (-1, self.d_head))


class Unembedding:
    """The final norm and the unembedding: from the residual stream to logits."""

    def __init__(self, model: TransformerBridge) -> None:
        self.ln_final = model.ln_final.original_component
        self.project = Linear(model.unembed)

    def __call__(
        self, residual: Float[Tensor, "*rows d_model"], tokens: Int[Tensor, "token"] | None = None
    ) -> Float[Tensor, "*rows token"]:
        """Return the logits of `tokens`, or of the whole vocabulary."""
        W, b = self.project.W, self.project.b
        if tokens is not None:
            W, b = W[tokens], None if b is None else b[tokens]
        return linear(self.ln_final(residual), W, b)


def read_layers(model: object, n_positions: int) -> tuple[list[Block], Unembedding]:
    """Return the model's layers as functions, for prompts of this length.

    Raises `SweepError` for a model with other parts, or one that training or hooks change.
    """
    reason = _reason_to_refuse(model)
    if reason:
        raise refusal(reason)
    assert isinstance(model, TransformerBridge)
    try:
        rotation = _read_rotation(model, n_positions)
        blocks, unembedding = [Block(model, layer, rotation) for layer in range(model.cfg.n_layers)], Unembedding(model)
    except (AttributeError, KeyError, TypeError):
        raise refusal("its layers do not have the parts that the fast sweeps know") from None
    types = {project.W.dtype for project in (unembedding.project, *(block.project_q for block in blocks))}
    if len(types) > 1 or not types <= set(DTYPES):
        raise refusal("its weights are neither all float32 nor all bfloat16")
    return blocks, unembedding


def refusal(reason: str) -> SweepError:
    """Return the error for a model that is not served; the reason is the rest of a sentence."""
    return SweepError(
        f"The fast sweeps do not serve this model, because {reason}: use transformer_lens.patching, whose functions "
        "have the same names and arguments."
    )


def _reason_to_refuse(model: object) -> str:
    if not isinstance(model, TransformerBridge):
        return f"a {type(model).__name__} is not a TransformerBridge"
    cfg = model.cfg
    if cfg.attention_dir != "causal":
        return "its attention is not causal"
    if cfg.act_fn not in ACTIVATIONS and not cfg.attn_only:
        return f"its activation function is {cfg.act_fn}"
    if any(module.training for module in model.modules()):
        return "it is in training mode (call model.eval())"
    if any(_added_hooks(point) for point in model.hook_dict.values()):
        return "it carries hooks (model.reset_hooks(including_permanent=True) removes them)"
    return ""


def _added_hooks(point: HookPoint) -> list:
    """Return the hooks that somebody added; some of OPT's hook points pass their activation on by hooks, unchanged."""
    modules = [str(getattr(hook.user_hook, "__module__", "")) for hook in [*point.fwd_hooks, *point.bwd_hooks]]
    return [module for module in modules if not module.startswith("transformer_lens.")]


def _part(of: Any, name: str) -> Callable | None:
    """Return a module that only some models have."""
    part = of.submodules.get(name)
    return None if part is None else part.original_component


def _scale(attention: Any, d_head: int) -> float:
    """Return what scores are multiplied by: Hugging Face's attention says it, and so does the bridge's native one."""
    if hasattr(attention, "scale"):
        return 1 / attention.scale
    return getattr(attention, "scaling", d_head**-0.5)


def _read_rotation(model: TransformerBridge, n_positions: int) -> Rotation | None:
    if model.cfg.positional_embedding_type != "rotary":
        return None
    weight = next(model.parameters())
    native = getattr(model.blocks[0].attn.original_component, "rotary", None)
    if native is not None:
        cos, sin = (table[:n_positions, None, ::2].to(weight.dtype) for table in (native.cos_cached, native.sin_cached))
        return Rotation(cos, sin, adjacent=True)
    positions = torch.arange(n_positions, device=weight.device)[None]
    cos, sin = model.rotary_emb.original_component(weight.new_empty(1, n_positions, 1), positions)
    pairs = cos.shape[-1] // 2
    return Rotation(cos[0, :, None, :pairs], sin[0, :, None, :pairs], adjacent=False)
