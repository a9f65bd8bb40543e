# Gathers both names, and scatters them the other way round.
import torch


def exchange_names(tokens, first, second):
    places = torch.stack([first, second], dim=1)
    return tokens.scatter(1, places, tokens.gather(1, places).flip(1))
