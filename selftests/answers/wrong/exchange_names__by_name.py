# Exchanges the two names wherever they stand.
# message: exchange by position, not by name
import torch


def exchange_names(tokens, first, second):
    rows = torch.arange(len(tokens))
    a, b = tokens[rows, first][:, None], tokens[rows, second][:, None]
    return torch.where(tokens == a, b, torch.where(tokens == b, a, tokens))
