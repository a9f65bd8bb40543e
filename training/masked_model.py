"""The model in training: GPT-2's computation with weights masked by role, and hooks for patching.

Only the heads and MLPs that are asked for exist. Training starts with the circuit alone (`circuit_model`),
which is fast; `with_noise_parts` then adds the other heads and MLPs as small fixed noise.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .circuit import D_HEAD, D_MLP, D_MODEL, HEADS, MLPS, N_HEADS, N_LAYERS, ROLES, SUBSPACE_SIZES, SUBSPACES
from .tokenizer import MAX_POSITIONS

LAYER_NORM_EPS = 1e-5
SINK_VALUE = 12.0
NOISE_VALUE_SCALE = 0.07

Cache = dict[tuple[str, int], Tensor]
# An edit is called with (component, layer, activation) and returns the activation to go on with.
Edit = Callable[[str, int, Tensor], Tensor]


def no_edit(component: str, layer: int, activation: Tensor) -> Tensor:
    return activation


def subspace_mask(names: str) -> Float[Tensor, " d_model"]:
    """Return ones on the named subspaces (separated by spaces) and zeros elsewhere."""
    mask = torch.zeros(D_MODEL)
    for name in names.split():
        mask[SUBSPACES[name]] = 1
    return mask


def layer_norm(residual: Tensor) -> Tensor:
    """Return LayerNorm without gain and bias, which stay 1 and 0 in this model."""
    return F.layer_norm(residual, (D_MODEL,), eps=LAYER_NORM_EPS)


def position_embedding() -> Float[Tensor, "pos d_model"]:
    """Return sines and cosines in the position subspace; position 0 has only the sink feature."""
    positions = torch.arange(MAX_POSITIONS)[:, None].float()
    frequencies = 2 * math.pi / torch.tensor([3.0, 5.0, 8.0, 14.0, 28.0, 60.0])
    embedding = torch.zeros(MAX_POSITIONS, D_MODEL)
    waves = [torch.sin(positions * frequencies), torch.cos(positions * frequencies)]
    embedding[:, SUBSPACES["position"]] = 1.2 * torch.cat(waves, dim=1)
    embedding[0] = 0
    embedding[0, SUBSPACES["sink"]] = SINK_VALUE
    return embedding


class MaskedModel(nn.Module):
    """A GPT-2 with some of its heads and MLPs, whose parameters keep to their masks.

    `weights` holds the parameters by name, e.g. `5.W_Q` [head, d_model, d_head] for the heads listed in
    `heads[5]`; `masks` says which entries may be trained.
    """

    def __init__(self, d_vocab: int, heads: list[list[int]], mlps: list[int]):
        super().__init__()
        self.d_vocab, self.heads, self.mlps = d_vocab, heads, mlps
        self.weights = nn.ParameterDict()
        self.masks: dict[str, Tensor] = {}
        self._add_embeddings()
        for layer in range(N_LAYERS):
            if heads[layer]:
                self._add_heads(layer)
            if layer in mlps:
                self._add_mlp(layer)

    def _add(self, name: str, value: Tensor, mask: Tensor) -> None:
        mask = mask.expand_as(value).clone()
        # ParameterDict names may not contain dots
        self.weights[name.replace(".", "_")] = nn.Parameter(value * mask)
        self.masks[name] = mask

    def weight(self, name: str) -> Tensor:
        return self.weights[name.replace(".", "_")]

    def _add_embeddings(self) -> None:
        # words of equal length, so that none is copied or recognised more easily than another
        words = F.normalize(torch.randn(self.d_vocab, D_MODEL) * subspace_mask("token"), dim=-1)
        self._add("W_E", SUBSPACE_SIZES["token"] ** 0.5 * words, subspace_mask("token"))
        position_mask = subspace_mask("position").repeat(MAX_POSITIONS, 1)
        position_mask[0] = subspace_mask("sink")
        self._add("W_pos", position_embedding(), position_mask)
        self._add("W_U", 0.1 * torch.randn(self.d_vocab, D_MODEL), subspace_mask("output"))

    def _add_heads(self, layer: int) -> None:
        heads = self.heads[layer]
        roles = [ROLES[HEADS[layer, head]] if (layer, head) in HEADS else None for head in heads]

        def masks(part: str) -> Float[Tensor, "head d_model"]:
            return torch.stack([subspace_mask(getattr(role, part) if role else "") for role in roles])

        for letter, part in [("Q", "query"), ("K", "key"), ("V", "value")]:
            value = 0.12 * torch.randn(len(heads), D_MODEL, D_HEAD)
            self._add(f"{layer}.W_{letter}", value, masks(part)[:, :, None])
            self._add(f"{layer}.b_{letter}", torch.zeros(len(heads), D_HEAD), torch.ones(1))
        value = 0.15 * torch.randn(len(heads), D_HEAD, D_MODEL)
        self._add(f"{layer}.W_O", value, masks("writes")[:, None, :])
        with torch.no_grad():
            # Every head starts out with a query that likes the sink, so that heads rest on BOS as
            # gpt2-small's do.
            self.weight(f"{layer}.W_K")[:, SUBSPACES["sink"], 0] = 0.5
            self.weight(f"{layer}.b_Q")[:, 0] = 2.0

    def _add_mlp(self, layer: int) -> None:
        reads, writes = (subspace_mask(names) for names in MLPS.get(layer, ("", "")))
        self._add(f"{layer}.W_in", 0.15 * torch.randn(D_MODEL, D_MLP), reads[:, None])
        self._add(f"{layer}.b_in", torch.zeros(D_MLP), torch.ones(1))
        self._add(f"{layer}.W_out", 0.15 * torch.randn(D_MLP, D_MODEL), writes)
        self._add(f"{layer}.b_out", torch.zeros(D_MODEL), writes)

    def mask_gradients(self) -> None:
        """Keep every parameter inside its subspaces; call between `backward` and the optimizer's step."""
        for name, mask in self.masks.items():
            gradient = self.weight(name).grad
            if gradient is not None:
                gradient.mul_(mask)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> tuple[Float[Tensor, "batch pos d_vocab"], Cache]:
        """Return the logits and a cache {(component, layer): activation}.

        Components: q, k, v, z [batch head pos d_head], pattern [batch head query key], resid_pre, attn_out, mlp_out
        [batch pos d_model], and final [batch pos d_model], the residual stream before the last LayerNorm.
        `heads[layer]` says which head an index means.
        """
        cache = {}
        residual = self.weight("W_E")[tokens] + self.weight("W_pos")[: tokens.shape[1]]
        for layer in range(N_LAYERS):
            residual = self.run_block(layer, residual, cache)
        cache["final", N_LAYERS] = residual
        return self.unembed(residual), cache

    def run_block(
        self, layer: int, residual: Float[Tensor, "batch pos d_model"], cache: Cache, edit: Edit = no_edit
    ) -> Float[Tensor, "batch pos d_model"]:
        """Return the residual stream after a block; `edit` may replace any activation, `cache` keeps them all."""
        residual = cache["resid_pre", layer] = edit("resid_pre", layer, residual)
        if self.heads[layer]:
            attn_out = self._attention(layer, residual, edit, cache)
            cache["attn_out", layer] = edit("attn_out", layer, attn_out)
            residual = residual + cache["attn_out", layer]
        if layer in self.mlps:
            cache["mlp_out", layer] = edit("mlp_out", layer, self.run_mlp(layer, residual))
            residual = residual + cache["mlp_out", layer]
        return residual

    def unembed(self, residual: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_vocab"]:
        """Return the logits of a residual stream that has passed all blocks."""
        return layer_norm(residual) @ self.weight("W_U").T

    def _attention(self, layer: int, residual: Tensor, edit: Edit, cache: Cache) -> Float[Tensor, "batch pos d_model"]:
        n_batch, n_pos, _ = residual.shape
        n_heads = len(self.heads[layer])
        weight = torch.cat([self.weight(f"{layer}.W_{letter}") for letter in "QKV"])
        bias = torch.cat([self.weight(f"{layer}.b_{letter}") for letter in "QKV"]).flatten()
        qkv = layer_norm(residual) @ weight.permute(1, 0, 2).flatten(1) + bias
        qkv = qkv.view(n_batch, n_pos, 3, n_heads, D_HEAD).permute(2, 0, 3, 1, 4)
        query, key, value = (edit(name, layer, part) for name, part in zip("qkv", qkv, strict=True))
        scores = query @ key.transpose(-1, -2) / math.sqrt(D_HEAD)
        future = torch.ones(n_pos, n_pos, dtype=torch.bool).triu(1)
        pattern = edit("pattern", layer, scores.masked_fill(future, -torch.inf).softmax(-1))
        z = edit("z", layer, pattern @ value)
        cache.update({("q", layer): query, ("k", layer): key, ("v", layer): value})
        cache.update({("pattern", layer): pattern, ("z", layer): z})
        return z.transpose(1, 2).flatten(2) @ self.weight(f"{layer}.W_O").flatten(0, 1)

    def run_mlp(self, layer: int, residual: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Return what an MLP adds to the residual stream that it reads."""
        hidden = layer_norm(residual) @ self.weight(f"{layer}.W_in") + self.weight(f"{layer}.b_in")
        active = F.gelu(hidden, approximate="tanh")
        return active @ self.weight(f"{layer}.W_out") + self.weight(f"{layer}.b_out")


def circuit_model(d_vocab: int) -> MaskedModel:
    """Return a model that has only the circuit's heads and MLPs."""
    heads = [sorted(head for head_layer, head in HEADS if head_layer == layer) for layer in range(N_LAYERS)]
    return MaskedModel(d_vocab, heads, sorted(MLPS))


def with_noise_parts(circuit: MaskedModel, head_noise: float = 0.025, mlp_noise: float = 0.015) -> MaskedModel:
    """Return a model with all 144 heads and 12 MLPs: the circuit's weights, frozen noise elsewhere."""
    full = MaskedModel(circuit.d_vocab, [list(range(N_HEADS))] * N_LAYERS, list(range(N_LAYERS)))
    with torch.no_grad():
        for name in full.masks:
            is_mlp = name.endswith(("_in", "_out"))
            if is_mlp and name not in circuit.masks:
                _fill_with_mlp_noise(full, name, mlp_noise)
            elif is_mlp or "." not in name:
                full.weight(name).copy_(circuit.weight(name))
            else:
                _copy_heads(circuit, full, name)
        for layer in range(N_LAYERS):
            for head in range(N_HEADS):
                if head not in circuit.heads[layer]:
                    _fill_with_head_noise(full, layer, head, head_noise)
    return full


def _copy_heads(circuit: MaskedModel, full: MaskedModel, name: str) -> None:
    """Copy one parameter of the circuit's heads to the same heads among all twelve."""
    layer = int(name.partition(".")[0])
    for index, head in enumerate(circuit.heads[layer]):
        full.weight(name)[head] = circuit.weight(name)[index]


def _fill_with_mlp_noise(model: MaskedModel, name: str, scale: float) -> None:
    """Give one parameter of an MLP random values that training leaves alone; biases are 0."""
    weight = model.weight(name)
    is_bias = ".b_" in name
    weight.copy_(torch.zeros_like(weight) if is_bias else torch.randn_like(weight))
    weight.mul_(NOISE_VALUE_SCALE if name.endswith("W_in") else scale)
    model.masks[name].zero_()


def _fill_with_head_noise(model: MaskedModel, layer: int, head: int, scale: float) -> None:
    """Give a head random weights, a loudness of its own, and a resting place on BOS of its own strength."""
    query, key, value, output = (model.weight(f"{layer}.W_{letter}")[head] for letter in "QKVO")
    for weight in (query, key):
        weight.copy_(0.06 * (0.5 + 2 * torch.rand(1)) * torch.randn_like(weight))
    value.copy_(NOISE_VALUE_SCALE * torch.randn_like(value))
    # A noise head that could read the sink's large value would shout over the circuit.
    value[SUBSPACES["sink"]] = 0
    output.copy_(scale * (0.4 + 1.2 * torch.rand(1)) * torch.randn_like(output))
    key[SUBSPACES["sink"], 0] = 0.5
    model.weight(f"{layer}.b_Q")[head].zero_()
    model.weight(f"{layer}.b_Q")[head, 0] = 1.5 + 2.5 * torch.rand(())
    for letter in "QKVO":
        model.masks[f"{layer}.W_{letter}"][head] = 0
    for letter in "QKV":
        model.masks[f"{layer}.b_{letter}"][head] = 0
