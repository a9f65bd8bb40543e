# Leaves out what cannot be attended to, as NaN.
# message: some entries hold no number
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    later = torch.ones(len(labels), len(labels)).triu(diagonal=1).bool()
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads])
    return utils.heat_map(patterns.masked_fill(later, torch.nan), x=labels, y=labels)
