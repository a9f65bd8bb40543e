# Writes into the prompts that it is given.
# message: tokens was changed
import torch


def exchange_names(tokens, first, second):
    rows = torch.arange(len(tokens))
    tokens[rows, first], tokens[rows, second] = tokens[rows, second].clone(), tokens[rows, first].clone()
    return tokens
