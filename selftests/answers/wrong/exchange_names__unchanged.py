# Changes a copy and returns the original.
# message: the prompts come back unchanged
import torch


def exchange_names(tokens, first, second):
    exchanged, rows = tokens.clone(), torch.arange(len(tokens))
    exchanged[rows, first], exchanged[rows, second] = tokens[rows, second], tokens[rows, first]
    return tokens
