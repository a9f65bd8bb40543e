# Indexes the prompts with the number of the head.
# message: the axes of a pattern are [batch head pos_q pos_k]: the head is on axis 1
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = torch.stack([cache["pattern", layer][head].mean(dim=0) for layer, head in heads])
    return utils.heat_map(patterns, x=labels, y=labels)
