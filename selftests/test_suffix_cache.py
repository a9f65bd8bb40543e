"""The suffix cache: what is written is found again, and never returned for other inputs."""

import pytest
import torch
from torch import Tensor

from utils import memoized_forward
from utils.memoized_forward import SuffixCache, take_snapshot

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


def test_snapshots_are_equal_if_tensors_and_structure_are():
    for index, value in enumerate(ALL_DIFFERENT):
        for other_index, other in enumerate(ALL_DIFFERENT):
            one, two = take_snapshot(value).clone(), take_snapshot(other)
            assert (one == two) == (one.key(0) == two.key(0)) == (index == other_index)


def test_the_layer_is_part_of_the_key():
    values = take_snapshot((RESIDUAL,))
    assert len({values.key(layer) for layer in (0, 1, 10, 11)}) == 4


def test_the_key_does_not_depend_on_the_memory_layout():
    transposed = RESIDUAL.mT.contiguous().mT
    assert take_snapshot(transposed).key(0) == take_snapshot(RESIDUAL).key(0)


def test_a_clone_has_tensors_of_its_own():
    tensor = RESIDUAL.clone()
    kept = take_snapshot((tensor, {"again": tensor})).clone()
    tensor.zero_()
    assert kept == take_snapshot((RESIDUAL, {"again": RESIDUAL}))


class OwnTensor(Tensor):
    pass


@pytest.mark.parametrize(
    "unknown", [RESIDUAL.clone().requires_grad_(), OwnTensor(RESIDUAL), torch.nn.Parameter(RESIDUAL), {1, 2}, object()]
)
def test_other_values_have_no_snapshot(unknown):
    assert take_snapshot(unknown) is None
    assert take_snapshot((RESIDUAL, [None, {"deep": unknown}])) is None


def test_find_returns_a_copy(tmp_path):
    cache, residual = SuffixCache(), RESIDUAL.clone()
    cache.add(KEY, residual)
    cache.write(tmp_path / "file")
    for cache_read in (cache, SuffixCache([tmp_path / "file"])):
        residual.zero_()
        cache_read.find(KEY).zero_()
        assert torch.equal(cache_read.find(KEY), RESIDUAL)
        assert cache_read.find(OTHER_KEY) is None
        assert len(cache_read) == 1


def test_missing_and_corrupt_files_are_left_out(tmp_path):
    good, better, damaged, other = (tmp_path / name for name in ("good", "better", "damaged", "other"))
    for file, key in ((good, KEY), (better, OTHER_KEY), (damaged, b"d" * 32)):
        cache = SuffixCache()
        cache.add(key, RESIDUAL)
        cache.write(file)
    damaged.write_bytes(damaged.read_bytes()[:-4])
    memoized_forward.save_file({"result": RESIDUAL}, other)
    cache_read = SuffixCache([damaged, good, tmp_path / "missing", other, better])
    assert len(cache_read) == 2
    assert torch.equal(cache_read.find(KEY), RESIDUAL)
    assert torch.equal(cache_read.find(OTHER_KEY), RESIDUAL)


def test_an_empty_cache_can_be_written_and_read(tmp_path):
    SuffixCache().write(tmp_path / "file")
    assert len(SuffixCache([tmp_path / "file"])) == 0


def test_max_bytes_bounds_the_cache(monkeypatch):
    monkeypatch.setattr(memoized_forward, "MAX_BYTES", 2 * RESIDUAL.nbytes)
    cache = SuffixCache()
    for key in (KEY, KEY, OTHER_KEY, b"x" * 32):
        cache.add(key, RESIDUAL)
    assert cache.find(KEY) is not None
    assert cache.find(OTHER_KEY) is not None
    assert len(cache) == 2


def test_a_cache_that_was_read_takes_no_more():
    cache = SuffixCache([])
    cache.add(KEY, RESIDUAL)
    assert len(cache) == 0
