"""What blocks are given, in a form that can be compared, copied and hashed in microseconds."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

SIMPLE = {bool, int, float, str, type(None)}


@dataclass(frozen=True, eq=False)
class Values:
    """What a block is given, or gives: two are equal if all tensors are, number by number, and all else is."""

    form: tuple
    """Types, simple values, and of each tensor the shape, type and device."""
    tensors: list[Tensor]

    def __eq__(self, other: object) -> bool:
        return self.form == other.form and all(map(torch.equal, self.tensors, other.tensors))

    def copy(self) -> "Values":
        """The same, with tensors of its own."""
        return Values(self.form, [tensor.clone() for tensor in self.tensors])

    def key(self, layer: int) -> bytes:
        """A hash of all that the block of this number was given."""
        digest = hashlib.blake2b(repr((layer, self.form)).encode(), digest_size=32)
        for tensor in self.tensors:
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.digest()


def values_of(value: object) -> Values | None:
    """The values of tensors without a gradient, simple ones, and groups of these; None where there is anything else."""
    tensors: list[Tensor] = []
    form = _form(value, tensors)
    return None if form is None else Values(form, tensors)


def _form(value: object, tensors: list[Tensor]) -> tuple | None:
    """What a value is besides the numbers of its tensors, which are added to the list."""
    kind = type(value)
    if kind is Tensor:
        tensors.append(value)
        return None if value.requires_grad else (kind, value.shape, value.dtype, value.device)
    if kind in SIMPLE:
        return kind, value
    if kind is tuple or kind is list:
        forms = [_form(each, tensors) for each in value]
    elif kind is dict:
        forms = [_form(list(value), tensors), *[_form(each, tensors) for each in value.values()]]
    else:
        return None
    return None if None in forms else (kind, *forms)
