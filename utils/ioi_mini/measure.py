"""Measures a model the way the workbook meets it: through TransformerBridge in compatibility mode.

The patching sweep gives what `transformer_lens.patching` gives, with many patches in one batch: the corrupted
prompts are repeated, and each copy gets one activation of its own replaced by the clean one.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import TransformerBridge
from transformer_lens.utilities import get_act_name

from .published import BLOCK_COMPONENTS


def load_bridge(folder: Path) -> TransformerBridge:
    """Boot a Hugging Face folder as the workbook does."""
    model = TransformerBridge.boot_transformers(str(folder), device="cpu")
    model.enable_compatibility_mode(disable_warnings=True)
    return model


PLACES_AT_ONCE = 15


@dataclass
class PromptSet:
    """Prompts in adjacent pairs that differ in S2 only; swapping each pair gives the corruption."""

    tokens: Int[Tensor, "batch pos"]
    answer_tokens: Int[Tensor, "batch 2"]  # correct, incorrect

    @property
    def corrupted_tokens(self) -> Int[Tensor, "batch pos"]:
        return self.tokens[torch.arange(len(self.tokens)) ^ 1]

    @property
    def s2(self) -> int:
        """The one position at which clean and corrupted differ."""
        (position,) = (self.tokens != self.corrupted_tokens).any(0).nonzero().flatten().tolist()
        return position

    def mentions(self, answer: int) -> Int[Tensor, " batch"]:
        """Return the position of the first mention of IO (`answer` 0) or S (`answer` 1) in each prompt."""
        return (self.tokens == self.answer_tokens[:, answer, None]).int().argmax(-1)

    def logit_diff(self, logits: Float[Tensor, "... batch pos d_vocab"]) -> Float[Tensor, "... batch"]:
        """Return logit(correct) - logit(incorrect) at END, one value for each prompt."""
        at_end = logits[..., -1, :]
        rows = torch.arange(len(self.tokens))
        return at_end[..., rows, self.answer_tokens[:, 0]] - at_end[..., rows, self.answer_tokens[:, 1]]


def prompt_set(model: TransformerBridge, prompts: list[str], answers: list[tuple[str, str]]) -> PromptSet:
    """Return prompts and (correct, incorrect) answers as tokens."""
    answer_tokens = [[model.to_single_token(answer) for answer in pair] for pair in answers]
    return PromptSet(model.to_tokens(prompts, prepend_bos=True), torch.tensor(answer_tokens))


class Measurement:
    """A model on a `PromptSet`: its clean and corrupted runs, and the effects of patches between them."""

    def __init__(self, model: TransformerBridge, prompts: PromptSet):
        self.model, self.prompts = model, prompts
        self.clean_logits, self.clean_cache = model.run_with_cache(prompts.tokens)
        self.corrupted_logits = model(prompts.corrupted_tokens)
        self.clean_diff = prompts.logit_diff(self.clean_logits).mean()
        self.corrupted_diff = prompts.logit_diff(self.corrupted_logits).mean()
        self.n_layers, self.n_heads = model.cfg.n_layers, model.cfg.n_heads

    def effects(self, component: str, layer: int, places: list[tuple]) -> Float[Tensor, " place"]:
        """Return the effect of patching the activation at each place, an index into one row's activation."""
        chunks = [places[start : start + PLACES_AT_ONCE] for start in range(0, len(places), PLACES_AT_ONCE)]
        return torch.cat([self._effects_at_once(component, layer, chunk) for chunk in chunks])

    def _effects_at_once(self, component: str, layer: int, places: list[tuple]) -> Float[Tensor, " place"]:
        n_rows = len(self.prompts.tokens)
        name = get_act_name(component, layer)

        def patch(activation: Tensor, hook) -> Tensor:
            patched = activation.clone()
            for number, place in enumerate(places):
                rows = slice(number * n_rows, (number + 1) * n_rows)
                patched[(rows, *place)] = self.clean_cache[name][(slice(None), *place)]
            return patched

        tokens = self.prompts.corrupted_tokens.repeat(len(places), 1)
        logits = self.model.run_with_hooks(tokens, fwd_hooks=[(name, patch)])
        diffs = self.prompts.logit_diff(logits.unflatten(0, (len(places), n_rows))).mean(-1)
        return (diffs - self.corrupted_diff) / (self.clean_diff - self.corrupted_diff)

    def block_maps(self) -> Float[Tensor, "3 layer pos"]:
        """Return the patching maps of resid_pre, attn_out and mlp_out."""
        places = [(pos,) for pos in range(self.prompts.tokens.shape[1])]
        layers = range(self.n_layers)
        return torch.stack(
            [torch.stack([self.effects(name, layer, places) for layer in layers]) for name in BLOCK_COMPONENTS]
        )

    def head_map(self, component: str) -> Float[Tensor, "layer head"]:
        """Return the patching map of z, q, k, v or pattern, all positions at once."""
        heads = range(self.n_heads)
        places = [(head,) if component == "pattern" else (slice(None), head) for head in heads]
        return torch.stack([self.effects(component, layer, places) for layer in range(self.n_layers)])

    def head_by_position_map(self, component: str) -> Float[Tensor, "layer head pos"]:
        """Return the patching map of z, q, k, v or pattern, one position at a time.

        Positions before S2 are not run: there the two runs agree, so a patch changes nothing.
        """
        n_pos = self.prompts.tokens.shape[1]
        positions = range(self.prompts.s2, n_pos)
        cells = [(head, pos) for head in range(self.n_heads) for pos in positions]
        places = [cell if component == "pattern" else cell[::-1] for cell in cells]
        result = torch.zeros(self.n_layers, self.n_heads, n_pos)
        for layer in range(self.n_layers):
            effects = self.effects(component, layer, places)
            result[layer, :, self.prompts.s2 :] = effects.unflatten(0, (self.n_heads, len(positions)))
        return result

    def head_attribution(self) -> Float[Tensor, "layer head"]:
        """Return what each head adds to the logit difference at END, through the final LayerNorm's scale."""
        correct, incorrect = self.model.W_U.T[self.prompts.answer_tokens].unbind(1)
        scale = self.clean_cache["ln_final.hook_scale"][:, -1]
        direction = (correct - incorrect) / scale
        rows = []
        for layer in range(self.n_layers):
            z = self.clean_cache["z", layer][:, -1]
            written = torch.einsum("bhd,hdm->bhm", z, self.model.blocks[layer].attn.W_O)
            rows.append((written * direction[:, None]).sum(-1).mean(0))
        return torch.stack(rows)

    def attention(self, layer: int, head: int, query: int, keys: Int[Tensor, " batch"]) -> float:
        """Return a head's clean attention from position `query` to each prompt's key position, averaged."""
        pattern = self.clean_cache["pattern", layer][:, head, query]
        return pattern[torch.arange(len(keys)), keys].mean().item()

    def logit_diff_without(self, heads: list[tuple[int, int]]) -> float:
        """Return the logit difference with the given heads' outputs replaced by their mean over prompts."""

        def knock_out(activation: Tensor, hook, head: int) -> Tensor:
            activation = activation.clone()
            activation[:, :, head] = activation[:, :, head].mean(0, keepdim=True)
            return activation

        hooks = [
            (get_act_name("z", layer), lambda z, hook, head=head: knock_out(z, hook, head)) for layer, head in heads
        ]
        return self.prompts.logit_diff(self.model.run_with_hooks(self.prompts.tokens, fwd_hooks=hooks)).mean().item()
