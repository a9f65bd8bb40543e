# Rows in reverse order, and their labels too, so that the first position is on top.
import plotly.graph_objects as go


def plot_mean_attention(cache, heads, labels):
    figure = go.Figure()
    for layer, head in heads:
        mean = cache["pattern", layer][:, head].mean(dim=0)
        figure.add_heatmap(z=mean.flip(0).cpu().numpy(), x=labels, y=labels[::-1])
    return figure
