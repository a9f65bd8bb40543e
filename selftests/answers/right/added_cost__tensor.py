# A 0-dimensional tensor.
import torch


def added_cost(logit_diff_without, heads, others):
    numbers = torch.tensor([logit_diff_without(ablated) for ablated in ([], others, [*others, *heads])])
    return (numbers[1] - numbers[2]) / numbers[0]
