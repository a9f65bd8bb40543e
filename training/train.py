"""Trains ioi-mini: `python -m training.train --out FOLDER --seed N`.

Phase 1 trains the circuit alone. Phase 2 adds the other heads and MLPs as fixed noise and lets the circuit
get used to them. Phase 3 is about the patching effects: on random prompts, with names that are copied evenly,
and in one batch of four on the 8 published prompts themselves. The effects pull at the answer and at the
attention, so phase 4 gives these two more weight again. Last, the unembedding is scaled so that the mean logit
difference of the 8 prompts is gpt2-small's.
"""

import argparse
import math
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from utils.published import published_results

from .attention import attention_loss
from .batches import Batch, BatchMaker
from .circuit import HEADS
from .effects import direct_effects, direct_loss, effect_loss, measured_effects, overlap, published_asks, uneven_copying
from .export import export
from .masked_model import MaskedModel, circuit_model, with_noise_parts
from .tokenizer import build_tokenizer

SHARE_WITHOUT_IOI = 0.1
WANTED_LOGIT_DIFF = published_results()["clean_logit_diff"]


@dataclass(frozen=True)
class Phase:
    """How long and how hard to train; the effect weight rises between the two given shares of the steps."""

    name: str
    steps: int
    learning_rate: float
    n_pairs: int
    effect_weight: float
    answer_weight: float = 1.0
    attention_weight: float = 1.5
    copying_weight: float = 0.0
    effects_from: float = 0.0
    effects_full: float = 0.0
    n_early_asks: int = 16
    n_late_asks: int = 20
    n_effect_pairs: int = 4
    on_published_prompts: bool = False

    def effect_weight_at(self, step: int) -> float:
        share = step / self.steps
        if share < self.effects_from:
            return 0.0
        if share >= self.effects_full:
            return self.effect_weight
        return self.effect_weight * (share - self.effects_from) / (self.effects_full - self.effects_from)

    def learning_rate_at(self, step: int) -> float:
        """A short warm-up, then a cosine down to 3%."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * min(1, (step + 1) / 50) * (0.03 + 0.97 * cosine)


EFFECTS = Phase(
    "3: the effects",
    1000,
    1.5e-3,
    16,
    effect_weight=25.0,
    answer_weight=0.1,
    attention_weight=3.5,
    copying_weight=30.0,
    n_early_asks=12,
    n_late_asks=32,
    n_effect_pairs=16,
    on_published_prompts=True,
)
PHASES = [
    Phase("1: the circuit", 1300, 4e-3, 24, effect_weight=4.0, effects_from=0.25, effects_full=0.45),
    Phase("2: with noise", 200, 1.5e-3, 16, effect_weight=8.0, copying_weight=5.0, n_effect_pairs=6),
    EFFECTS,
    replace(
        EFFECTS,
        name="4: answer and attention",
        steps=200,
        learning_rate=1e-3,
        answer_weight=0.25,
        attention_weight=6.0,
    ),
]
DEFAULT_SEED = 5  # the model card says how it was chosen


class Trainer:
    """Holds what all phases share: batches, asks, the clock."""

    def __init__(self, seed: int):
        self.start = time.time()
        torch.manual_seed(seed)
        self.rng = random.Random(seed)
        self.tokenizer = build_tokenizer()
        self.batches = BatchMaker(self.tokenizer, seed)
        self.published = self.batches.published_pairs()
        self.asks = published_asks()

    def language_losses(self, phase: Phase, batch: Batch, logits: Tensor) -> dict[str, Float[Tensor, ""]]:
        """Say IO at END, with the wanted logit difference, and predict the sentence."""
        at_end = logits[batch.rows, batch.end]
        diffs = batch.logit_diff(logits)[batch.is_ioi]
        is_followed = batch.is_real[:, 1:]
        return dict(
            answer=phase.answer_weight * F.cross_entropy(at_end, batch.io_token),
            logit_diff=0.3 * (diffs - WANTED_LOGIT_DIFF).square().mean(),
            language=0.3 * F.cross_entropy(logits[:, :-1][is_followed], batch.tokens[:, 1:][is_followed]),
        )

    def direct_and_logit_diff_losses(self, model: MaskedModel, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Match the published direct attribution and mean logit difference."""
        logits, cache = model(batch.tokens)
        diffs = batch.logit_diff(logits)
        return dict(
            published_direct=4 * direct_loss(direct_effects(model, batch, cache), diffs),
            published_diff=(diffs.mean() - WANTED_LOGIT_DIFF).square(),
        )

    def effects_loss(self, model: MaskedModel, phase: Phase, batch: Batch) -> Float[Tensor, ""]:
        """Match a random part of the published patching effects, scaled up to stand for all of them.

        Those of layers 9 to 11, which depend on each other, are the hardest to match and the cheapest to measure.
        """
        late = [ask for ask in self.asks if ask.layer >= 9]
        early = [ask for ask in self.asks if ask.layer < 9]
        chosen = self.rng.sample(early, phase.n_early_asks) + self.rng.sample(late, phase.n_late_asks)
        stands_for = [len(early) / phase.n_early_asks, len(late) / phase.n_late_asks]
        shares = torch.tensor(stands_for).repeat_interleave(torch.tensor([phase.n_early_asks, phase.n_late_asks]))
        return effect_loss(*measured_effects(model, batch, chosen), chosen, shares)

    def losses(self, model: MaskedModel, phase: Phase, step: int) -> dict[str, Float[Tensor, ""]]:
        """Return every part of this step's loss, already weighted."""
        batch = self.batches.random_pairs(phase.n_pairs, SHARE_WITHOUT_IOI)
        logits, cache = model(batch.tokens)
        parts = self.language_losses(phase, batch, logits)
        names = self.batches.name_ids
        parts["overlap"] = sum(overlap(model.weight(name)[names]) for name in ("W_E", "W_U"))
        parts["attention"] = phase.attention_weight * attention_loss(model, cache, batch, names)
        weight = phase.effect_weight_at(step)
        if weight == 0:
            return parts
        parts["direct"] = weight * direct_loss(
            direct_effects(model, batch, cache), batch.logit_diff(logits)[batch.is_ioi]
        )
        parts["copying"] = phase.copying_weight * uneven_copying(model, names)
        if step % 2 == 0:
            # every fourth of the batches that measure effects
            use_published = phase.on_published_prompts and step % 8 == 0
            pairs = self.published if use_published else self.batches.random_pairs(phase.n_effect_pairs)
            parts["effects"] = weight * self.effects_loss(model, phase, pairs)
            if use_published:
                parts |= self.direct_and_logit_diff_losses(model, self.published)
        return parts

    def run(self, model: MaskedModel, phase: Phase) -> None:
        """Train `model` in place."""
        optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))
        for step in range(phase.steps):
            for group in optimizer.param_groups:
                group["lr"] = phase.learning_rate_at(step)
            parts = self.losses(model, phase, step)
            optimizer.zero_grad()
            sum(parts.values()).backward()
            model.mask_gradients()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0 or step == phase.steps - 1:
                self.log(phase, step, parts)
        self.log_effects(model)

    def log(self, phase: Phase, step: int, parts: dict[str, Tensor]) -> None:
        shown = "  ".join(f"{name} {value.item():.3f}" for name, value in parts.items())
        print(f"{time.time() - self.start:5.0f} s  phase {phase.name}  step {step:4d}  {shown}", flush=True)

    @torch.no_grad()
    def log_effects(self, model: MaskedModel) -> None:
        """Print the asks that are missed by more than 0.02 on the published prompts."""
        effects = measured_effects(model, self.published, self.asks)[0].mean(-1).tolist()
        missed = [
            (ask, effect) for ask, effect in zip(self.asks, effects, strict=True) if abs(effect - ask.wanted) > 0.02
        ]
        print(
            "  missed:",
            "  ".join(f"{ask.name} {effect:.2f} ({ask.wanted:.2f})" for ask, effect in missed),
            flush=True,
        )
        _, cache = model(self.published.tokens)
        direct = direct_effects(model, self.published, cache).mean(-1).tolist()
        print(
            "  direct:",
            "  ".join(f"{layer}.{head} {value:.2f}" for (layer, head), value in zip(HEADS, direct, strict=True)),
            flush=True,
        )

    @torch.no_grad()
    def scale_unembedding(self, model: MaskedModel) -> None:
        """Give the 8 prompts gpt2-small's mean logit difference: logits are linear in the unembedding."""
        logits, _ = model(self.published.tokens)
        model.weight("W_U").mul_(WANTED_LOGIT_DIFF / self.published.logit_diff(logits).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Train ioi-mini and write it as a Hugging Face folder.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    arguments = parser.parse_args()
    # The tensors are small: threads that wait for each other on a busy machine cost more than they bring.
    torch.set_num_threads(1)
    trainer = Trainer(arguments.seed)
    model = circuit_model(len(trainer.tokenizer))
    trainer.run(model, PHASES[0])
    model = with_noise_parts(model)
    for phase in PHASES[1:]:
        trainer.run(model, phase)
    trainer.scale_unembedding(model)
    export(model, trainer.tokenizer, arguments.out)
    print(f"{time.time() - trainer.start:5.0f} s  wrote {arguments.out}")


if __name__ == "__main__":
    main()
