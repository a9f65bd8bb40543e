# Returns a figure for each head.
# message: return one figure
import utils


def plot_mean_attention(cache, heads, labels):
    return [utils.heat_map(cache["pattern", layer][:, head].mean(dim=0)) for layer, head in heads]
