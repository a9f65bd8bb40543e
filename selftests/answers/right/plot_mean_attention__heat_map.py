# utils.heat_map on a stack, with names and labels.
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads])
    names = [f"{layer}.{head}" for layer, head in heads]
    return utils.heat_map(patterns, "Mean attention", labels, labels, "attended to", "attends from", names)
