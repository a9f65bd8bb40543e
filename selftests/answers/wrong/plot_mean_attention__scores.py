# Draws what each query and key give, without the scale and the mask.
# message: of one head (axis 1) of the cache's pattern
import torch

import utils


def plot_mean_attention(cache, heads, labels):
    patterns = []
    for layer, head in heads:
        query, key = cache["q", layer][:, :, head], cache["k", layer][:, :, head]
        patterns.append((query @ key.mT).softmax(dim=-1).mean(dim=0))
    return utils.heat_map(torch.stack(patterns), x=labels, y=labels)
