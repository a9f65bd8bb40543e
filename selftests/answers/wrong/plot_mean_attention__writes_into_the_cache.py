# Divides in place, and so changes the cache.
# message: the cache was changed
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = []
    for layer, head in heads:
        pattern = cache["pattern", layer][:, head]
        pattern /= pattern.shape[0]
        patterns.append(pattern.sum(dim=0))
    return utils.heat_map(torch.stack(patterns), x=labels, y=labels)
