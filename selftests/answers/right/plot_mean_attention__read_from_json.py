# Writes the figure as JSON and reads it again, which leaves the numbers encoded.
import plotly.io as pio
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"].mean(0)[head] for layer, head in heads])
    return pio.from_json(utils.heat_map(patterns).to_json())
