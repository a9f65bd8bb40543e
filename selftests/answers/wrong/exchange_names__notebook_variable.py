# Reads the notebook's prompts and its positions.
# message: it uses the notebook's variable data
import torch


def exchange_names(tokens, first, second):
    exchanged, rows = data.clean_tokens.clone(), torch.arange(8)
    s1, io = data.positions["S1"], data.positions["IO"]
    exchanged[rows, s1], exchanged[rows, io] = exchanged[rows, io], exchanged[rows, s1]
    return exchanged
