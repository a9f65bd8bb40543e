# Leaves the last prompt out.
# message: index with the number of the prompt and its position together
import torch


def exchange_names(tokens, first, second):
    exchanged, rows = tokens.clone(), torch.arange(len(tokens) - 1)
    exchanged[rows, first[:-1]], exchanged[rows, second[:-1]] = tokens[rows, second[:-1]], tokens[rows, first[:-1]]
    return exchanged
