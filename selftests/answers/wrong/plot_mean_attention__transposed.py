# Rows are the positions attended to.
# message: rows are the positions that attend, columns those attended to: do not transpose
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0).T for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
