# Returns the matrices by name, not drawn.
# message: return the figure itself, one of plotly's
def plot_mean_attention(cache, heads, labels):
    return {f"{layer}.{head}": cache["pattern", layer][:, head].mean(dim=0) for layer, head in heads}
