# Draws each prompt.
# message: one heat map for each head, not for each prompt
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    return utils.heat_map(torch.cat([cache["pattern", layer][:, head] for layer, head in heads]), x=labels, y=labels)
