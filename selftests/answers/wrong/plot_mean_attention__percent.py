# Draws percents.
# message: the numbers are scaled
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([100 * cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
