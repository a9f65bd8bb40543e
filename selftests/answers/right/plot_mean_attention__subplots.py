# make_subplots and go.Heatmap, one below the other, row 0 on top, lists of lists.
import plotly.graph_objects as go
from plotly.subplots import make_subplots


def plot_mean_attention(cache, heads, labels):
    figure = make_subplots(rows=len(heads), cols=1)
    for row, (layer, head) in enumerate(heads, start=1):
        pattern = cache["pattern", layer].mean(dim=0)[head]
        figure.add_trace(go.Heatmap(z=pattern.tolist(), x=labels, y=labels), row=row, col=1)
    return figure.update_yaxes(autorange="reversed")
