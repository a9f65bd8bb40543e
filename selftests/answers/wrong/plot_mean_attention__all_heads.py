# Averages over all heads of the layer.
# message: this is the average over all heads of the layer
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer].mean(dim=(0, 1)) for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
