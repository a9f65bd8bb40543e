# Reads the notebook's cache in place of its argument.
# message: it uses the notebook's variable clean_cache
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([clean_cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
