# Gives names of heads as the numbers.
# message: heat map 1 has another z
import plotly.graph_objects as go


def plot_mean_attention(cache, heads, labels):
    return go.Figure([go.Heatmap(z=[[f"head {layer}.{head}"]]) for layer, head in heads])
