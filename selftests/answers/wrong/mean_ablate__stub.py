# Not begun.
# message: mean_ablate is not implemented yet
def mean_ablate(model, tokens, means, heads):
    raise NotImplementedError
