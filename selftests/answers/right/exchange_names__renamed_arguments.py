# Other names for the arguments, and a clone that takes both at once.
import torch


def exchange_names(prompts, a, b):
    copy, rows = torch.clone(prompts), torch.arange(prompts.size(0))
    copy[rows, a], copy[rows, b] = prompts[rows, b], prompts[rows, a]
    return copy
