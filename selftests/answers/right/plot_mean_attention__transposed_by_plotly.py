# Adds up the prompts, divides, transposes, and has plotly transpose back.
import plotly.graph_objects as go


def plot_mean_attention(cache, heads, labels):
    traces = []
    for layer, head in heads:
        total = sum(pattern[head] for pattern in cache["pattern", layer])
        traces.append(go.Heatmap(z=(total / len(cache["pattern", layer])).T, transpose=True))
    return go.Figure(traces)
