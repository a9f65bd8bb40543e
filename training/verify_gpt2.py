"""Compare a model with published patching results: `make verify-gpt2`, for those who have gpt2-small's weights.

Every sweep of the published file is run again with `transformer_lens.patching`, on the file's own prompts. The table
shows the largest difference of each; the exit code is 1 if one is too large.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from utils.errors import WorkbookError
from utils.ioi import IOIData, load_ioi, logits_to_ave_logit_diff
from utils.models import load_model
from utils.published import PUBLISHED_FILE
from utils.references import reference_sweep
from utils.sweep_specs import PUBLISHED_SWEEPS

TOLERANCE = 2e-3
"""The largest difference that other builds of torch may make."""

LONG_SWEEP = "head_by_pos_every"


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gpt2-small", help="a model's name or folder")
    parser.add_argument("--published", type=Path, default=PUBLISHED_FILE, help="a file in the published one's format")
    parser.add_argument("--by-position", action="store_true", help="the 10,800 runs of head_by_pos_every too")
    options = parser.parse_args(arguments)
    published = json.loads(options.published.read_text(encoding="utf-8"))
    try:
        model = load_model(options.model)
        data = load_ioi(model, published["prompts"], published["answers"])
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return 1
    rows = [compare_logit_differences(model, data, published)]
    for name, map_ in published["patching"].items():
        if name == LONG_SWEEP and not options.by_position:
            print(f"{name} is left out: it takes about an hour, and --by-position includes it.")
            continue
        result = reference_sweep(PUBLISHED_SWEEPS[name].name, model, data)
        rows.append(compare(name, published_layout(name, result), map_))
    return print_table(rows)


def compare_logit_differences(model, data: IOIData, published: dict) -> tuple[str, int, float, str]:
    """Compare the clean logit difference of each prompt."""
    found = logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens, per_prompt=True)
    return compare("per_prompt_logit_diff", found, {"axes": ["prompt"], "values": published["per_prompt_logit_diff"]})


def published_layout(name: str, result: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """transformer_lens puts positions before heads, the published file heads before positions."""
    return result.transpose(-1, -2) if name == LONG_SWEEP else result


def compare(name: str, found: Float[Tensor, "..."], published: dict) -> tuple[str, int, float, str]:
    """Return a row of the table: name, number of values, largest difference, and where that is."""
    difference = (found.cpu() - torch.tensor(published["values"])).abs()
    place = torch.unravel_index(difference.argmax(), difference.shape)
    where = ", ".join(f"{axis} {int(index)}" for axis, index in zip(published["axes"], place, strict=True))
    return name, difference.numel(), difference.max().item(), where


def print_table(rows: list[tuple[str, int, float, str]]) -> int:
    """Print the rows; return 1 if a difference is too large, and 0 otherwise."""
    print(f"\n{'':22} {'values':>6} {'largest difference':>19}   at")
    for name, number, largest, where in rows:
        verdict = "" if largest <= TOLERANCE else f"   MORE THAN {TOLERANCE}"
        print(f"{name:22} {number:6} {largest:19.6f}   {where}{verdict}")
    return int(any(not largest <= TOLERANCE for _, _, largest, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
