# Draws prompt 0 alone.
# message: average over the prompts: this is a single prompt
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][0, head] for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
