# Exchanges the positions' numbers, and reads the tokens at them.
import torch


def exchange_names(tokens, first, second):
    order = torch.arange(tokens.shape[1]).repeat(len(tokens), 1)
    rows = range(len(tokens))
    order[rows, first], order[rows, second] = second, first
    return tokens.gather(1, order)
