# Rounds to two digits.
# message: round nothing
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0).round(decimals=2) for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
