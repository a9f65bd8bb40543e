"""How runs end: kept, found again, and never taken for the end of another run."""

import pytest
import torch
from torch import Tensor

from utils.memoized_forward import suffix_cache
from utils.memoized_forward.suffix_cache import KnownEnds
from utils.memoized_forward.values import values_of

RESIDUAL = torch.arange(6.0).reshape(1, 2, 3)
KEY, OTHER_KEY = b"k" * 32, b"o" * 32

ALL_DIFFERENT = [
    (RESIDUAL,),
    [RESIDUAL],
    (RESIDUAL + 1,),
    (RESIDUAL.double(),),
    (RESIDUAL.reshape(2, 1, 3),),
    (RESIDUAL, RESIDUAL),
    (RESIDUAL, None),
    (RESIDUAL, 0),
    (RESIDUAL, False),
    (RESIDUAL, 0.0),
    (RESIDUAL, ""),
    (RESIDUAL, {}),
    (RESIDUAL, {"mask": None}),
    (RESIDUAL, {"mask": RESIDUAL}),
    (RESIDUAL, {"other": RESIDUAL}),
    (RESIDUAL, (None, None)),
    (RESIDUAL, None, None),
]


def test_values_are_equal_if_all_is():
    for index, value in enumerate(ALL_DIFFERENT):
        for other_index, other in enumerate(ALL_DIFFERENT):
            one, two = values_of(value).copy(), values_of(other)
            assert (one == two) == (one.key(0) == two.key(0)) == (index == other_index)


def test_the_same_for_another_block_is_another_key():
    values = values_of((RESIDUAL,))
    assert len({values.key(layer) for layer in (0, 1, 10, 11)}) == 4


def test_how_a_tensor_lies_in_memory_makes_no_difference():
    transposed = RESIDUAL.mT.contiguous().mT
    assert values_of(transposed).key(0) == values_of(RESIDUAL).key(0)


def test_a_copy_stays_as_it_is():
    tensor = RESIDUAL.clone()
    kept = values_of((tensor, {"again": tensor})).copy()
    tensor.zero_()
    assert kept == values_of((RESIDUAL, {"again": RESIDUAL}))


class OwnTensor(Tensor):
    pass


@pytest.mark.parametrize(
    "unknown", [RESIDUAL.clone().requires_grad_(), OwnTensor(RESIDUAL), torch.nn.Parameter(RESIDUAL), {1, 2}, object()]
)
def test_what_cannot_be_compared_has_no_values(unknown):
    assert values_of(unknown) is None
    assert values_of((RESIDUAL, [None, {"deep": unknown}])) is None


def test_an_end_is_everybodys_own(tmp_path):
    ends, residual = KnownEnds(), RESIDUAL.clone()
    ends.note(KEY, residual)
    ends.write(tmp_path / "file")
    for known in (ends, KnownEnds([tmp_path / "file"])):
        residual.zero_()
        known.find(KEY).zero_()
        assert torch.equal(known.find(KEY), RESIDUAL)
        assert known.find(OTHER_KEY) is None
        assert len(known) == 1


def test_ends_are_read_from_all_files_that_can_be(tmp_path):
    good, better, damaged, other = (tmp_path / name for name in ("good", "better", "damaged", "other"))
    for file, key in ((good, KEY), (better, OTHER_KEY), (damaged, b"d" * 32)):
        ends = KnownEnds()
        ends.note(key, RESIDUAL)
        ends.write(file)
    damaged.write_bytes(damaged.read_bytes()[:-4])
    suffix_cache.save_file({"result": RESIDUAL}, other)
    known = KnownEnds([damaged, good, tmp_path / "missing", other, better])
    assert len(known) == 2
    assert torch.equal(known.find(KEY), RESIDUAL)
    assert torch.equal(known.find(OTHER_KEY), RESIDUAL)


def test_no_end_is_known_of_a_sweep_of_no_runs(tmp_path):
    KnownEnds().write(tmp_path / "file")
    assert len(KnownEnds([tmp_path / "file"])) == 0
    suffix_cache.open_ends(tmp_path / "file")


def test_what_takes_too_much_room_is_not_noted(monkeypatch):
    monkeypatch.setattr(known_ends, "MOST_BYTES", 2 * RESIDUAL.nbytes)
    ends = KnownEnds()
    for key in (KEY, KEY, OTHER_KEY, b"x" * 32):
        ends.note(key, RESIDUAL)
    assert ends.find(KEY) is not None
    assert ends.find(OTHER_KEY) is not None
    assert len(ends) == 2


def test_nothing_is_added_to_what_was_read():
    ends = KnownEnds([])
    ends.note(KEY, RESIDUAL)
    assert len(ends) == 0
