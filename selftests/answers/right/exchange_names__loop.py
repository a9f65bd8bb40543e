# A loop over the prompts, in lists.
import torch


def exchange_names(tokens, first, second):
    prompts = tokens.tolist()
    for prompt, a, b in zip(prompts, first.tolist(), second.tolist(), strict=True):
        prompt[a], prompt[b] = prompt[b], prompt[a]
    return torch.tensor(prompts)
