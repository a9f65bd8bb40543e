# Returns the numbers, not drawn.
# message: draw these numbers: return what utils.heat_map returns
import torch


def plot_mean_attention(cache, heads, labels):
    return torch.stack([cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads])
