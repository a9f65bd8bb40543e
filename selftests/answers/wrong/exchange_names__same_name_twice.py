# Reads the second name after it was overwritten.
# message: one of the names is written twice
import torch


def exchange_names(tokens, first, second):
    exchanged, rows = tokens.clone(), torch.arange(len(tokens))
    exchanged[rows, first] = exchanged[rows, second]
    exchanged[rows, second] = exchanged[rows, first]
    return exchanged
