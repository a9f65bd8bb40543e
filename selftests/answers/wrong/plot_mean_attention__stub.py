# Not begun.
# message: plot_mean_attention is not implemented yet
def plot_mean_attention(cache, heads, labels):
    raise NotImplementedError
