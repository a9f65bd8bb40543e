# Turns the rows round so that the first is on top, but not their labels.
# message: the rows are in reverse order
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0).flip(0) for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
