"""Measures a model the way the workbook meets it: its maps, attention and attribution on a set of IOI prompts."""

from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from utils import sweeps
from utils.circuit import head_attribution, mean_attention
from utils.ioi import IOIData, logits_to_ave_logit_diff, make_ioi_metric
from utils.sweep_specs import BLOCK_COMPONENTS, HEAD_COMPONENTS


class Measurement:
    """A model on IOI prompts: its clean and corrupted runs, and the effects of patches between them."""

    def __init__(self, model: TransformerBridge, data: IOIData):
        self.model, self.data = model, data
        self.clean_logits, self.clean_cache = model.run_with_cache(data.clean_tokens)
        self.metric = make_ioi_metric(model, data)
        self.clean_diffs = self._logit_diffs(self.clean_logits)
        self.corrupted_diffs = self._logit_diffs(model(data.corrupted_tokens))

    def _logit_diffs(self, logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, " batch"]:
        return logits_to_ave_logit_diff(logits, self.data.answer_tokens, per_prompt=True)

    def _sweep(self, name: str) -> Float[Tensor, "..."]:
        sweep = getattr(sweeps, name)
        return sweep(
            self.model,
            self.data.corrupted_tokens,
            self.clean_cache,
            self.metric,
            tokens_read=self.data.answer_tokens,
            progress=False,
        )

    def maps(self) -> dict[str, Tensor]:
        """Return the patching maps by component: [layer pos] of blocks, [layer head] of heads."""
        blocks = self._sweep("get_act_patch_block_every")
        heads = self._sweep("get_act_patch_attn_head_all_pos_every")
        return dict(zip([*BLOCK_COMPONENTS, *HEAD_COMPONENTS], [*blocks, *heads], strict=True))

    def maps_by_position(self) -> dict[str, Float[Tensor, "layer pos head"]]:
        """Return the patching maps of heads by component, one position at a time."""
        maps = self._sweep("get_act_patch_attn_head_by_pos_every")
        return dict(zip(HEAD_COMPONENTS, maps, strict=True))

    def head_attribution(self) -> Float[Tensor, "layer head"]:
        """Return what each head adds directly to the logit difference at END, in logits."""
        return head_attribution(self.model, self.data, self.clean_cache)

    def attention(self, layer: int, head: int, looks_from: str, looks_at: str) -> float:
        """Return a head's clean attention from one named position to another, averaged over the prompts."""
        start, end = (self.data.positions[name] for name in (looks_from, looks_at))
        return mean_attention(self.clean_cache, self.model.cfg.n_layers, start, end)[layer, head].item()

    def logit_diff_without(self, heads: list[tuple[int, int]]) -> float:
        """Return the logit difference with the given heads' outputs replaced by their mean over prompts."""

        def knock_out(activation: Tensor, hook, head: int) -> Tensor:
            activation = activation.clone()
            activation[:, :, head] = activation[:, :, head].mean(0, keepdim=True)
            return activation

        hooks = [
            (get_act_name("z", layer), lambda z, hook, head=head: knock_out(z, hook, head)) for layer, head in heads
        ]
        return self._logit_diffs(self.model.run_with_hooks(self.data.clean_tokens, fwd_hooks=hooks)).mean().item()
