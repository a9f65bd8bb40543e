"""The published gpt2-small results, read from their one source, `utils/published/gpt2_small_ioi.json`.

The numbers are the stored outputs of the TransformerLens demos (the file's `sources` names them); nothing
here computes them. ioi-mini is trained towards them, and `report.py` compares it with them.
"""

import numpy as np

from utils.published import published_results

BLOCK_COMPONENTS = ("resid_pre", "attn_out", "mlp_out")
HEAD_COMPONENTS = ("z", "q", "k", "v", "pattern")


def published_prompts() -> list[str]:
    """Return the 8 IOI prompts; each adjacent pair is a prompt and its corruption."""
    return published_results()["prompts"]


def published_answers() -> list[tuple[str, str]]:
    """Return (correct, incorrect) for each of the 8 prompts, each name with its leading space."""
    return [tuple(pair) for pair in published_results()["answers"]]


def block_map(component: str) -> np.ndarray:
    """Return the patching map of `component` (`resid_pre`, `attn_out` or `mlp_out`), shape [layer, pos]."""
    values = published_results()["patching"]["block_every"]["values"]
    return np.array(values[BLOCK_COMPONENTS.index(component)])


def head_map(component: str) -> np.ndarray:
    """Return the patching map of `component` (of `HEAD_COMPONENTS`), all positions, shape [layer, head]."""
    values = published_results()["patching"]["head_all_pos_every"]["values"]
    return np.array(values[HEAD_COMPONENTS.index(component)])


def head_by_position_map(component: str) -> np.ndarray:
    """Return the patching map of `component` one position at a time, shape [layer, head, pos]."""
    values = published_results()["patching"]["head_by_pos_every"]["values"]
    return np.array(values[HEAD_COMPONENTS.index(component)])


def head_attribution() -> np.ndarray:
    """Return each head's direct part in the logit difference at END, in logits, shape [layer, head]."""
    return np.array(published_results()["attribution"]["head_logit_diff_attribution"]["values"])


def clean_logit_diff() -> float:
    """Return gpt2-small's mean logit difference on the 8 prompts (3.55)."""
    return published_results()["clean_logit_diff"]
