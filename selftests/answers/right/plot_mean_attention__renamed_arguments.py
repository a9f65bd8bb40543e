# Other names for the arguments, and einsum for the mean.
import torch

import utils


def plot_mean_attention(activations, chosen, tokens):
    def mean(layer, head):
        pattern = activations["pattern", layer]
        return torch.einsum("bqk->qk", pattern[:, head]) / pattern.shape[0]

    return utils.heat_map(torch.stack([mean(*pair) for pair in chosen]), x=tokens, y=tokens)
