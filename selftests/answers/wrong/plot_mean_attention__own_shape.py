# Leaves the first position out.
# message: the cache's pattern has a row and a column for each position
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head, 1:, 1:].mean(dim=0) for layer, head in heads])
    return utils.heat_map(patterns, x=labels[1:], y=labels[1:])
