# Returns from within the loop.
# message: one heat map for each head
import utils


def plot_mean_attention(cache, heads, labels):
    for layer, head in heads:
        return utils.heat_map(cache["pattern", layer][:, head].mean(dim=0), x=labels, y=labels)
