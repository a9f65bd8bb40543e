# Takes the heads off the list.
# message: the list of heads was changed
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = []
    while heads:
        layer, head = heads.pop(0)
        patterns.append(cache["pattern", layer][:, head].mean(dim=0))
    return utils.heat_map(torch.stack(patterns), x=labels, y=labels)
