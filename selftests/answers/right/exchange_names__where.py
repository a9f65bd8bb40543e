# Compares every position with the two.
import torch


def exchange_names(tokens, first, second):
    rows = torch.arange(len(tokens))
    positions = torch.arange(tokens.shape[1])
    at_first, at_second = positions == first[:, None], positions == second[:, None]
    result = torch.where(at_first, tokens[rows, second][:, None], tokens)
    return torch.where(at_second, tokens[rows, first][:, None], result)
