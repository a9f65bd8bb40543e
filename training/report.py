"""Compares ioi-mini with the published gpt2-small: `python -m training.report [FOLDER]`.

Prints every figure beside the bar it should clear, and exits with status 1 if a bar is missed. Rows without a
bar are there to be read.
"""

import argparse
import random
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from training.published_maps import published_map, published_map_by_position
from utils.ioi import PROMPTS, IOIData, load_ioi
from utils.models import IOI_MINI_FOLDER, load_model
from utils.published import published_attribution, published_results

from .circuit import HEADS
from .measure import Measurement
from .words import NAMES, OBJECTS, PLACES, sample_sentence

OTHER_PROMPTS_SEED, RANDOM_PROMPTS_SEED = 7, 5
N_MORE_SETS = 20
N_RANDOM_PROMPTS = 2000
MAX_MEGABYTES = 6.0

MAP_BARS = {
    "resid_pre": 0.995,
    "attn_out": 0.98,
    "mlp_out": 0.98,
    "z": 0.98,
    "q": 0.98,
    "k": 0.85,
    "v": 0.97,
    "pattern": 0.98,
}
BY_POSITION_BAR, ATTRIBUTION_BAR = 0.95, 0.9
OTHER_PROMPTS_TOLERANCE = 0.1
ATTENTION_BAR = 0.5
NAME_MOVERS = [(9, 9), (9, 6), (10, 0)]
TABLE_BEGINS, TABLE_ENDS = "<!-- figures -->", "<!-- end of figures -->"


@dataclass
class Row:
    """One line of the report; `passed` is None where there is no bar."""

    figure: str
    value: str
    bar: str = ""
    passed: bool | None = None


def at_least(figure: str, value: float, bar: float) -> Row:
    return Row(figure, f"{value:.3f}", f">= {bar}", value >= bar)


def at_most(figure: str, value: float, bar: float) -> Row:
    return Row(figure, f"{value:.3f}", f"<= {bar}", value <= bar)


def more_than(figure: str, value: float, bar: float) -> Row:
    return Row(figure, f"{value:.3f}", f"> {bar}", value > bar)


def correlation(ours: Tensor, theirs: Tensor) -> float:
    """Return the Pearson correlation over all cells of two maps."""
    pair = torch.stack([ours.flatten().double(), torch.as_tensor(theirs).flatten().double()])
    return torch.corrcoef(pair)[0, 1].item()


def head_names(heads) -> str:
    return " ".join(f"{layer}.{head}" for layer, head in sorted(heads))


def strongest(effects, count: int) -> set[tuple[int, int]]:
    """Return the heads of the `count` largest values (smallest, if negative) of a [layer, head] map."""
    flat = torch.as_tensor(effects).flatten()
    indices = flat.topk(abs(count), largest=count > 0).indices.tolist()
    return {divmod(index, len(effects[0])) for index in indices}


def other_prompts(model: TransformerBridge, seed: int = OTHER_PROMPTS_SEED) -> IOIData:
    """Return 8 prompts laid out like the published ones, with name pairs and templates never trained on."""
    rng = random.Random(seed)
    prompts, answers = [], []
    while len(prompts) < 8:
        sentence = sample_sentence(rng, held_out=True)
        pair = [sentence.text(subject) for subject in sentence.names]
        tokens = model.to_tokens(pair, prepend_bos=True)
        if tokens.shape[1] == 15 and (tokens[0] != tokens[1]).nonzero().flatten().tolist() == [10]:
            prompts += pair
            first, second = (" " + name for name in sentence.names)
            answers += [(second, first), (first, second)]
    return load_ioi(model, prompts, answers)


def vocabulary_rows(model: TransformerBridge, folder: Path) -> list[Row]:
    """Tokenizer and size."""
    same_split = model.to_str_tokens(PROMPTS[0]) == published_results()["str_tokens_prompt_0"]
    tokens = model.to_tokens(PROMPTS, prepend_bos=True)
    shape, n_bos = tuple(tokens.shape), (tokens == model.tokenizer.bos_token_id).sum(-1).unique().tolist()
    rows = [
        Row("tokens of prompt 0", "as GPT-2's" if same_split else "different", "as GPT-2's", same_split),
        Row(
            "shape of the 8 prompts, BOS in each",
            f"{shape}, {n_bos}",
            "(8, 15), [1]",
            (shape, n_bos) == ((8, 15), [1]),
        ),
    ]
    for kind, words, bar in [("names", NAMES, 150), ("places", PLACES, 40), ("objects", OBJECTS, 40)]:
        single = sum(model.to_tokens(" " + word, prepend_bos=False).shape[1] == 1 for word in words)
        rows.append(Row(f"{kind} that are one token", str(single), f">= {bar}", single >= bar))
    megabytes = (folder / "model.safetensors").stat().st_size / 1e6
    rows.append(Row("weights, MB", f"{megabytes:.2f}", f"<= {MAX_MEGABYTES}", megabytes <= MAX_MEGABYTES))
    return rows


def behaviour_rows(measured: Measurement) -> list[Row]:
    """Logit differences and top tokens on the 8 prompts."""
    diffs = measured.clean_diffs
    clean, corrupted = diffs.mean().item(), measured.corrupted_diffs.mean().item()
    on_top = (measured.clean_logits[:, -1].argmax(-1) == measured.data.answer_tokens[:, 0]).sum().item()
    return [
        Row("clean logit difference", f"{clean:.3f}", "3.0 to 4.2", 3.0 <= clean <= 4.2),
        Row(
            "corrupted logit difference",
            f"{corrupted:.3f}",
            "minus the clean one",
            abs(clean + corrupted) < 1e-3,
        ),
        Row("smallest logit difference of a prompt", f"{diffs.min():.3f}", "> 0", bool((diffs > 0).all())),
        Row("prompts with IO on top", f"{on_top} of 8", "8 of 8", on_top == 8),
    ]


def accuracy_rows(model: TransformerBridge) -> list[Row]:
    """Top token on random prompts with name pairs and templates never trained on."""
    rng = random.Random(RANDOM_PROMPTS_SEED)
    by_length = defaultdict(list)
    for _ in range(N_RANDOM_PROMPTS):
        sentence = sample_sentence(rng, held_out=True)
        # ABBA: the indirect object is mentioned first; BABA: the subject is
        order = rng.choice(["ABBA", "BABA"])
        io, subject = sentence.names if order == "ABBA" else sentence.names[::-1]
        tokens = model.to_tokens(sentence.text(subject), prepend_bos=True)
        by_length[tokens.shape[1]].append((tokens, model.to_single_token(" " + io), order))
    hits = defaultdict(list)
    for group in by_length.values():
        top = model(torch.cat([tokens for tokens, _, _ in group]))[:, -1].argmax(-1).tolist()
        for token, (_, io, order) in zip(top, group, strict=True):
            hits[order].append(token == io)
    everything = hits["ABBA"] + hits["BABA"]
    rows = [at_least("IO on top, 2,000 held-out prompts", sum(everything) / len(everything), 0.98)]
    return rows + [at_least(f"  of them {order}", sum(hits[order]) / len(hits[order]), 0.97) for order in sorted(hits)]


def map_rows(ours: dict[str, Tensor], on_other: dict[str, Tensor]) -> list[Row]:
    """Correlation with the published maps, and how far the maps move on 8 other prompts."""
    rows, other_rows = [], []
    for name, bar in MAP_BARS.items():
        theirs = published_map(name)
        rows.append(at_least(f"{name}: correlation", correlation(ours[name], theirs), bar))
        rows.append(Row(f"{name}: largest difference", f"{(ours[name] - theirs).abs().max():.3f}"))
        other_rows.append(Row(f"{name}: correlation, other prompts", f"{correlation(on_other[name], theirs):.3f}"))
        moved = (ours[name] - on_other[name]).abs().max().item()
        other_rows.append(at_most(f"{name}: largest move, other prompts", moved, OTHER_PROMPTS_TOLERANCE))
    return rows + other_rows


def more_sets_rows(model: TransformerBridge, ours: dict[str, Tensor]) -> list[Row]:
    """How far the maps move on more sets of 8 other prompts, for one may be a lucky one: median, smallest, largest."""
    moves = defaultdict(list)
    for seed in range(OTHER_PROMPTS_SEED + 1, OTHER_PROMPTS_SEED + 1 + N_MORE_SETS):
        for name, on_set in Measurement(model, other_prompts(model, seed)).maps().items():
            moves[name].append((ours[name] - on_set).abs().max().item())
    moves["any map"] = [max(of_set) for of_set in zip(*moves.values(), strict=True)]
    return [
        Row(
            f"{name}: largest move, {N_MORE_SETS} more sets",
            f"{median(of_sets):.3f} ({min(of_sets):.3f} to {max(of_sets):.3f})",
            "none",
        )
        for name, of_sets in moves.items()
    ]


def by_position_rows(measured: Measurement) -> list[Row]:
    """Correlation with the published head-by-position maps."""
    rows = []
    for name, ours in measured.maps_by_position().items():
        value = correlation(ours, published_map_by_position(name))
        figure = f"{name} by position: correlation"
        rows.append(Row(figure, f"{value:.3f}") if name == "k" else at_least(figure, value, BY_POSITION_BAR))
    return rows


def attribution_rows(measured: Measurement, other: Measurement) -> list[Row]:
    """Direct logit attribution of the heads."""
    theirs = published_attribution()
    ours = measured.head_attribution()
    shown = ", ".join(f"{layer}.{head} {ours[layer, head]:.2f}" for layer, head in [*NAME_MOVERS, (10, 7), (11, 10)])
    return [
        at_least("direct attribution: correlation", correlation(ours, theirs), ATTRIBUTION_BAR),
        Row(
            "direct attribution: correlation, other prompts",
            f"{correlation(other.head_attribution(), theirs):.3f}",
        ),
        Row("direct attribution, logits", shown),
    ]


def same_heads(figure: str, ours: set, theirs: set) -> Row:
    return Row(figure, head_names(ours), head_names(theirs), ours == theirs)


def head_rows(maps: dict[str, Tensor]) -> list[Row]:
    """The strongest heads, and the heads that should not matter."""
    ours, theirs = maps["z"], published_map("z")
    outside = torch.ones_like(ours, dtype=torch.bool)
    for layer, head in HEADS:
        outside[layer, head] = False
    effects = ours[outside].abs()
    return [
        same_heads("z: six strongest", strongest(ours, 6), strongest(theirs, 6)),
        same_heads("z: two most negative", strongest(ours, -2), strongest(theirs, -2)),
        same_heads("v: four strongest", strongest(maps["v"], 4), strongest(published_map("v"), 4)),
        Row("z of the other heads: mean, largest", f"{effects.mean():.4f}, {effects.max():.4f}"),
        Row(
            "z of the other heads: exactly 0",
            f"{(effects == 0).sum()} of {len(effects)}",
            "0",
            bool((effects > 0).all()),
        ),
    ]


def attention_rows(measured: Measurement) -> list[Row]:
    """Clean attention of the circuit's heads."""
    looks = [((3, 0), "S2", "S1"), ((5, 5), "S2", "S1+1"), ((6, 9), "S2", "S1+1")]
    looks += [(head, "END", "S2") for head in [(7, 3), (7, 9), (8, 6), (8, 10)]]
    looks += [(head, "END", "IO") for head in NAME_MOVERS]
    return [
        more_than(
            f"{layer}.{head} looks from {source} to {target}",
            measured.attention(layer, head, source, target),
            ATTENTION_BAR,
        )
        for (layer, head), source, target in looks
    ]


def backup_rows(measured: Measurement) -> list[Row]:
    """What is left without 9.9, and without all name movers. Published for other prompts only, hence no bar."""
    rows = []
    for heads in (NAME_MOVERS[:1], NAME_MOVERS):
        direct = sum(measured.head_attribution()[layer, head].item() for layer, head in heads)
        clean, left = measured.clean_diffs.mean().item(), measured.logit_diff_without(heads)
        rows += [
            Row(f"logit difference without {head_names(heads)}", f"{left:.2f} of {clean:.2f}"),
            Row("  if no other head reacted", f"{clean - direct:.2f}"),
        ]
    return rows


@torch.no_grad()
def report_rows(folder: Path) -> list[Row]:
    """Return the whole report."""
    model = load_model(folder, device="cpu")
    measured = Measurement(model, load_ioi(model))
    other = Measurement(model, other_prompts(model))
    maps = measured.maps()
    sections = [
        partial(vocabulary_rows, model, folder),
        partial(behaviour_rows, measured),
        partial(accuracy_rows, model),
        partial(map_rows, maps, other.maps()),
        partial(more_sets_rows, model, maps),
        partial(by_position_rows, measured),
        partial(attribution_rows, measured, other),
        partial(head_rows, maps),
        partial(attention_rows, measured),
        partial(backup_rows, measured),
    ]
    return [row for section in sections for row in section()]


def print_table(rows: list[Row]) -> None:
    marks = {True: "ok", False: "MISSED", None: ""}
    print(f"{'figure':<48} {'value':>26}  {'bar':<26}")
    for row in rows:
        print(f"{row.figure:<48} {row.value:>26}  {row.bar:<26} {marks[row.passed]}".rstrip())


def card_table(rows: list[Row]) -> str:
    """Return the rows that have a bar, or say that they have none, as the table of the model card."""
    marks = {True: "yes", False: "**no**", None: ""}
    lines = ["| figure | value | bar | cleared |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.figure} | {row.value} | {row.bar} | {marks[row.passed]} |" for row in rows if row.bar]
    return "\n".join(lines)


def write_card(card: Path, rows: list[Row]) -> None:
    """Put the table between the card's two marks, so that its figures are measured ones."""
    before, rest = card.read_text(encoding="utf-8").split(TABLE_BEGINS)
    _, after = rest.split(TABLE_ENDS)
    text = f"{before}{TABLE_BEGINS}\n{card_table(rows)}\n{TABLE_ENDS}{after}"
    card.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ioi-mini with the published gpt2-small results.")
    parser.add_argument("folder", type=Path, nargs="?", default=IOI_MINI_FOLDER)
    parser.add_argument("--write-card", action="store_true", help="put the figures into the folder's README.md")
    options = parser.parse_args()
    rows = report_rows(options.folder)
    print_table(rows)
    if options.write_card:
        write_card(options.folder / "README.md", rows)
    missed = [row.figure for row in rows if row.passed is False]
    print(f"\n{len(missed)} bars missed" + (": " + "; ".join(missed) if missed else ""))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
