# px.imshow with facets, by numpy in float64, without labels.
import numpy as np
import plotly.express as px


def plot_mean_attention(cache, heads, labels):
    patterns = [cache["pattern", layer].double().cpu().numpy()[:, head].mean(axis=0) for layer, head in heads]
    return px.imshow(np.stack(patterns), facet_col=0, facet_col_wrap=2)
