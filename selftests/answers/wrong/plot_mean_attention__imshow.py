# Shows the figure in place of returning it.
# message: utils.imshow and .show() show a figure and return None
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads])
    return utils.imshow(patterns, x=labels, y=labels)
