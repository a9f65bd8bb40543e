# Shows the figure too, and marks each head's strongest attention with a point.
import plotly.graph_objects as go

import utils


def plot_mean_attention(cache, heads, labels):
    figure = go.Figure()
    for layer, head in heads:
        mean = cache["pattern", layer][:, head].mean(dim=0)
        ((row, column),) = utils.topk_of_Nd_tensor(mean, k=1)
        figure.add_traces([go.Heatmap(z=mean), go.Scatter(x=[column], y=[row], mode="markers")])
    figure.show()
    return figure
