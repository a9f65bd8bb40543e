# Draws lines, not heat maps.
# message: a figure without heat maps, with scatter
import plotly.graph_objects as go


def plot_mean_attention(cache, heads, labels):
    return go.Figure([go.Scatter(y=cache["pattern", layer][:, head].mean(dim=0)[-1]) for layer, head in heads])
