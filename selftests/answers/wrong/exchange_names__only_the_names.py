# Returns the two names of each prompt only.
# message: return the whole prompts
import torch


def exchange_names(tokens, first, second):
    rows = torch.arange(len(tokens))
    return torch.stack([tokens[rows, second], tokens[rows, first]], dim=1)
